import { formatSelector, type Selector } from "../spiffe/selector.ts";

/** Something that demands selectors: it matches whoever has all of them. */
export interface Demanding {
  readonly id: string;
  /** Canonical. */
  readonly selectors: readonly Selector[];
}

/** Something that did not match, and what it demands that was not seen. */
export interface NearMiss<T extends Demanding> {
  readonly entry: T;
  readonly missing: readonly Selector[];
}

/**
 * Demanding things, found by what somebody has. Each waits under the one of its selectors that the fewest others wait
 * under, so that a look-up costs what the caller's selectors lead to and not the number of things.
 */
export class SelectorIndex<T extends Demanding> {
  readonly #waiting = new Map<string, Map<string, T>>();
  readonly #anchors = new Map<string, string>();

  /** Adds the thing, in place of the one with the same id. One that demands nothing is never found. */
  put(thing: T): void {
    this.delete(thing.id);
    let anchor: string | undefined;
    for (const selector of thing.selectors) {
      const text = formatSelector(selector);
      if (anchor === undefined || this.#crowd(text) < this.#crowd(anchor)) anchor = text;
    }
    if (anchor === undefined) return;
    this.#anchors.set(thing.id, anchor);
    const waiting = this.#waiting.get(anchor);
    if (waiting === undefined) this.#waiting.set(anchor, new Map([[thing.id, thing]]));
    else waiting.set(thing.id, thing);
  }

  /** Removes the thing with this id, if it is there. */
  delete(id: string): void {
    const anchor = this.#anchors.get(id);
    if (anchor === undefined) return;
    this.#anchors.delete(id);
    const waiting = this.#waiting.get(anchor);
    waiting?.delete(id);
    if (waiting?.size === 0) this.#waiting.delete(anchor);
  }

  /** How many there are. */
  get size(): number {
    return this.#anchors.size;
  }

  /** Everything whose selectors are all among these, in no particular order. */
  match(selectors: readonly Selector[]): readonly T[] {
    const seen = new Set(selectors.map(formatSelector));
    const matched: T[] = [];
    for (const text of seen) {
      for (const thing of this.#waiting.get(text)?.values() ?? []) {
        if (thing.selectors.every((selector) => seen.has(formatSelector(selector)))) matched.push(thing);
      }
    }
    return matched;
  }

  /** What came nearest without matching: fewest selectors missing, then most met, then by id; at most `limit`. */
  nearest(selectors: readonly Selector[], limit: number): readonly NearMiss<T>[] {
    const seen = new Set(selectors.map(formatSelector));
    const misses: (NearMiss<T> & { readonly met: number })[] = [];
    for (const waiting of this.#waiting.values()) {
      for (const entry of waiting.values()) {
        const missing = entry.selectors.filter((selector) => !seen.has(formatSelector(selector)));
        const met = entry.selectors.length - missing.length;
        // What shares nothing with the caller did not come near.
        if (met > 0 && missing.length > 0) misses.push({ entry, missing, met });
      }
    }
    return misses
      .toSorted(
        (a, b) => a.missing.length - b.missing.length || b.met - a.met || (a.entry.id < b.entry.id ? -1 : 1),
      )
      .slice(0, limit)
      .map(({ entry, missing }) => ({ entry, missing }));
  }

  #crowd(selector: string): number {
    return this.#waiting.get(selector)?.size ?? 0;
  }
}
