import type { Selector } from "../../spiffe/selector.ts";
import type { EntryRecord } from "../../store/records.ts";

/**
 * A registration entry as an agent knows it: everything but the store's own ordinal, which never leaves a server, and
 * what only a server acts on: a workload's tokens are exchanged there, and entries of tasks go to no agent.
 */
export type WorkloadEntry = Omit<
  EntryRecord,
  "ordinal" | "idTemplate" | "maxTaskDuration" | "exchangeAudiences"
>;

/** An entry that might have matched, and what it demands that was not seen. */
export interface WorkloadNearMiss {
  readonly entry: WorkloadEntry;
  readonly missing: readonly Selector[];
}

/** What the decision needs of whatever keeps the entries. */
export interface WorkloadEntryIndex {
  /** Entries whose selectors are all among these, in any order. */
  match(selectors: readonly Selector[]): readonly WorkloadEntry[];
  /** Entries that came nearest without matching, best first, at most `limit`. */
  nearest(selectors: readonly Selector[], limit: number): readonly WorkloadNearMiss[];
}

/**
 * The order of a workload's identities: oldest entry first, ties by id. An entry that is added later never moves the
 * default identity, which is the first (Workload API §8).
 */
export function byAge(a: WorkloadEntry, b: WorkloadEntry): number {
  if (a.createdAt !== b.createdAt) return a.createdAt - b.createdAt;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
