import type { SpiffeId } from "../spiffe/id.ts";
import { serverId, taskInstanceOf } from "../spiffe/reserved.ts";
import type { Selector } from "../spiffe/selector.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryRecord } from "../store/records.ts";
import { type NearMiss, SelectorIndex } from "./match.ts";
import { putOrdered, putUnder, removeOrdered, removeUnder } from "./ordered-records.ts";

/**
 * All registration entries in memory, with an index for every question that is asked often. Lists are in the order of
 * creation, belong to the directory and change with it.
 */
export class EntryDirectory {
  readonly #all: EntryRecord[] = [];
  readonly #byId = new Map<string, EntryRecord>();
  readonly #byParent = new Map<SpiffeId, EntryRecord[]>();
  readonly #bySpiffeId = new Map<SpiffeId, EntryRecord[]>();
  readonly #byFederation = new Map<TrustDomain, EntryRecord[]>();
  readonly #aliases = new SelectorIndex<EntryRecord>();
  /** Entries of tasks by their parent: each task attestor's are looked through alone. */
  readonly #ofTasks = new Map<SpiffeId, SelectorIndex<EntryRecord>>();
  readonly #trustDomain: TrustDomain;
  readonly #serverId: SpiffeId;

  constructor(trustDomain: TrustDomain) {
    this.#trustDomain = trustDomain;
    this.#serverId = serverId(trustDomain);
  }

  /** Every entry. */
  get all(): readonly EntryRecord[] {
    return this.#all;
  }

  get(id: string): EntryRecord | undefined {
    return this.#byId.get(id);
  }

  /** Entries that this ID is the parent of. */
  ofParent(id: SpiffeId): readonly EntryRecord[] {
    return this.#byParent.get(id) ?? [];
  }

  /** Entries that give this ID. */
  ofSpiffeId(id: SpiffeId): readonly EntryRecord[] {
    return this.#bySpiffeId.get(id) ?? [];
  }

  /** Entries that federate with this trust domain. */
  federatingWith(trustDomain: TrustDomain): readonly EntryRecord[] {
    return this.#byFederation.get(trustDomain) ?? [];
  }

  /** Whether the entry names nodes: its parent is the server itself. */
  isAlias(entry: EntryRecord): boolean {
    return entry.parentId === this.#serverId;
  }

  /** Aliases whose selectors are all among these. */
  aliasesOf(selectors: readonly Selector[]): readonly EntryRecord[] {
    return this.#aliases.match(selectors);
  }

  /** Aliases that came nearest to these selectors, best first. */
  nearestAliases(selectors: readonly Selector[], limit: number): readonly NearMiss<EntryRecord>[] {
    return this.#aliases.nearest(selectors, limit);
  }

  /** Entries of tasks below this parent whose selectors are all among these, in no particular order. */
  ofTasks(parentId: SpiffeId, selectors: readonly Selector[]): readonly EntryRecord[] {
    return this.#ofTasks.get(parentId)?.match(selectors) ?? [];
  }

  /** Entries of tasks below this parent that came nearest to these selectors, best first, of those that `keeps` lets through. */
  nearestOfTasks(
    parentId: SpiffeId,
    selectors: readonly Selector[],
    limit: number,
    keeps: (entry: EntryRecord) => boolean,
  ): readonly NearMiss<EntryRecord>[] {
    return this.#ofTasks.get(parentId)?.nearest(selectors, limit, keeps) ?? [];
  }

  /** Takes an entry in, in place of the one with the same id. */
  put(entry: EntryRecord): void {
    const before = this.#byId.get(entry.id);
    if (before !== undefined) this.#unindex(before);
    this.#byId.set(entry.id, entry);
    putOrdered(this.#all, entry);
    putUnder(this.#byParent, entry.parentId, entry);
    putUnder(this.#bySpiffeId, entry.spiffeId, entry);
    for (const trustDomain of entry.federatesWith) putUnder(this.#byFederation, trustDomain, entry);
    if (this.isAlias(entry)) this.#aliases.put(entry);
    if (taskInstanceOf(entry.parentId, this.#trustDomain) !== undefined) this.#putOfTasks(entry);
  }

  /** Takes an entry out. */
  delete(id: string): void {
    const before = this.#byId.get(id);
    if (before === undefined) return;
    this.#unindex(before);
    this.#byId.delete(id);
    removeOrdered(this.#all, before.ordinal);
  }

  #putOfTasks(entry: EntryRecord): void {
    let index = this.#ofTasks.get(entry.parentId);
    if (index === undefined) this.#ofTasks.set(entry.parentId, (index = new SelectorIndex()));
    index.put(entry);
  }

  #unindex(entry: EntryRecord): void {
    removeUnder(this.#byParent, entry.parentId, entry.ordinal);
    removeUnder(this.#bySpiffeId, entry.spiffeId, entry.ordinal);
    for (const trustDomain of entry.federatesWith) {
      removeUnder(this.#byFederation, trustDomain, entry.ordinal);
    }
    this.#aliases.delete(entry.id);
    const ofTasks = this.#ofTasks.get(entry.parentId);
    ofTasks?.delete(entry.id);
    if (ofTasks?.size === 0) this.#ofTasks.delete(entry.parentId);
  }
}
