import type { WorkloadEntry, WorkloadNearMiss } from "../../issuance/workload/workload-entry.ts";
import { formatSelector, type Selector } from "../../spiffe/selector.ts";
import type { FollowingIndex } from "./entry-table.ts";

/**
 * An index that answers in the time of what a caller shows, not of how many entries there are: each entry waits under the
 * one of its selectors that the fewest others wait under, since it cannot match without it.
 */
export class EntryIndex implements FollowingIndex {
  readonly #waiting = new Map<string, Map<string, IndexedEntry>>();
  readonly #byId = new Map<string, IndexedEntry>();

  put(entry: WorkloadEntry): void {
    this.delete(entry.id);
    const demands = entry.selectors.map(formatSelector);
    const [first] = demands;
    // An entry that demands nothing would match everybody; it matches nobody.
    if (first === undefined) return;
    let anchor = first;
    for (const demand of demands) if (this.#crowd(demand) < this.#crowd(anchor)) anchor = demand;
    const indexed = { entry, demands, anchor };
    this.#byId.set(entry.id, indexed);
    const waiting = this.#waiting.get(anchor);
    if (waiting === undefined) this.#waiting.set(anchor, new Map([[entry.id, indexed]]));
    else waiting.set(entry.id, indexed);
  }

  delete(id: string): void {
    const indexed = this.#byId.get(id);
    if (indexed === undefined) return;
    this.#byId.delete(id);
    const waiting = this.#waiting.get(indexed.anchor);
    waiting?.delete(id);
    if (waiting?.size === 0) this.#waiting.delete(indexed.anchor);
  }

  match(selectors: readonly Selector[]): readonly WorkloadEntry[] {
    const seen = new Set(selectors.map(formatSelector));
    const matched: WorkloadEntry[] = [];
    for (const text of seen) {
      for (const { entry, demands } of this.#waiting.get(text)?.values() ?? []) {
        if (demands.every((demand) => seen.has(demand))) matched.push(entry);
      }
    }
    return matched;
  }

  nearest(selectors: readonly Selector[], limit: number): readonly WorkloadNearMiss[] {
    const seen = new Set(selectors.map(formatSelector));
    const misses: (WorkloadNearMiss & { readonly shared: number })[] = [];
    for (const { entry } of this.#byId.values()) {
      const missing = entry.selectors.filter((selector) => !seen.has(formatSelector(selector)));
      const shared = entry.selectors.length - missing.length;
      // What shares nothing with the caller did not come near.
      if (shared > 0 && missing.length > 0) misses.push({ entry, missing, shared });
    }
    return misses
      .toSorted((a, b) => a.missing.length - b.missing.length || b.shared - a.shared)
      .slice(0, limit)
      .map(({ entry, missing }) => ({ entry, missing }));
  }

  #crowd(selector: string): number {
    return this.#waiting.get(selector)?.size ?? 0;
  }
}

interface IndexedEntry {
  readonly entry: WorkloadEntry;
  readonly demands: readonly string[];
  readonly anchor: string;
}
