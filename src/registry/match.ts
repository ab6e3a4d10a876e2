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

  /**
   * What came nearest without matching: fewest selectors missing, then most met, then by id; at most `limit` of what `keeps`
   * lets through. Looks at everything there is, and keeps no more than the best.
   */
  nearest(
    selectors: readonly Selector[],
    limit: number,
    keeps: (thing: T) => boolean = () => true,
  ): readonly NearMiss<T>[] {
    const seen = seenOf(selectors);
    const best: Miss<T>[] = [];
    for (const waiting of this.#waiting.values()) {
      for (const entry of waiting.values()) {
        let missing = 0;
        for (const selector of entry.selectors) if (!has(seen, selector)) missing++;
        const met = entry.selectors.length - missing;
        // What shares nothing with the caller did not come near.
        if (met === 0 || missing === 0 || !keeps(entry)) continue;
        putNearest(best, { entry, missing, met }, limit);
      }
    }
    return best.map(({ entry }) => ({
      entry,
      missing: entry.selectors.filter((selector) => !has(seen, selector)),
    }));
  }

  #crowd(selector: string): number {
    return this.#waiting.get(selector)?.size ?? 0;
  }
}

/** Values by type: to look a selector up without writing it out first, which would cost more than all the rest. */
type Seen = ReadonlyMap<string, ReadonlySet<string>>;

function seenOf(selectors: readonly Selector[]): Seen {
  const byType = Map.groupBy(selectors, ({ type }) => type);
  return new Map([...byType].map(([type, all]) => [type, new Set(all.map(({ value }) => value))]));
}

function has(seen: Seen, { type, value }: Selector): boolean {
  return seen.get(type)?.has(value) === true;
}

interface Miss<T extends Demanding> {
  readonly entry: T;
  /** How many of its selectors were not seen, and how many were. */
  readonly missing: number;
  readonly met: number;
}

function putNearest<T extends Demanding>(best: Miss<T>[], miss: Miss<T>, limit: number): void {
  const last = best.at(-1);
  if (best.length >= limit && (last === undefined || isNearer(last, miss))) return;
  const at = best.findIndex((other) => isNearer(miss, other));
  best.splice(at < 0 ? best.length : at, 0, miss);
  if (best.length > limit) best.pop();
}

function isNearer(a: Miss<Demanding>, b: Miss<Demanding>): boolean {
  if (a.missing !== b.missing) return a.missing < b.missing;
  if (a.met !== b.met) return a.met > b.met;
  return a.entry.id < b.entry.id;
}
