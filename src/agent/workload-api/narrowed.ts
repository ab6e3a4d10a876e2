import { withUniqueHints } from "../../issuance/workload/verdict.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeId } from "../../spiffe/id.ts";

/**
 * Narrows what a caller has earned to one identity, where one is asked for, and then to one entry for each hint; the same
 * array as before where nothing changed.
 */
export function narrowed(
  earned: (now: number) => readonly WorkloadEntry[],
  wanted: SpiffeId | undefined,
): (now: number) => readonly WorkloadEntry[] {
  if (wanted === undefined) return earned;
  let from: readonly WorkloadEntry[] | undefined;
  let entries: readonly WorkloadEntry[] = [];
  return (now) => {
    const all = earned(now);
    if (all !== from) entries = withUniqueHints(all.filter(({ spiffeId }) => spiffeId === wanted));
    from = all;
    return entries;
  };
}
