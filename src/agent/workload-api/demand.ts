import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { KeyedSvid, SvidCache } from "../cache/svid-cache.ts";

/** A cache of SVIDs, as far as one can want something of it. */
export type WantedSvids = Pick<SvidCache<KeyedSvid>, "want" | "isOnDemand">;

/** Keeps SVIDs alive, for as long as one stream wants them, of entries that are not signed in advance. */
export class Demand implements Disposable {
  readonly #cache: WantedSvids;
  readonly #wanted = new Map<string, Disposable>();
  #last: readonly WorkloadEntry[] | undefined;

  constructor(cache: WantedSvids) {
    this.#cache = cache;
  }

  /** Wants these entries' SVIDs and no others. */
  follow(entries: readonly WorkloadEntry[]): void {
    if (entries === this.#last) return;
    this.#last = entries;
    const ids = new Set(entries.flatMap((entry) => (this.#cache.isOnDemand(entry) ? [entry.id] : [])));
    for (const [id, want] of this.#wanted) {
      if (ids.has(id)) continue;
      want[Symbol.dispose]();
      this.#wanted.delete(id);
    }
    for (const id of ids) if (!this.#wanted.has(id)) this.#wanted.set(id, this.#cache.want(id));
  }

  [Symbol.dispose](): void {
    for (const want of this.#wanted.values()) want[Symbol.dispose]();
    this.#wanted.clear();
  }
}
