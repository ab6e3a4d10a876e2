import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { KeyedSvid, SvidCache } from "../cache/svid-cache.ts";

/** One identity of an answer. */
export interface SvidIdentity<Svid> {
  readonly entry: WorkloadEntry;
  readonly svid: Svid;
}

/** The SVIDs of one kind that an answer is made of. */
export interface SvidState<Svid> {
  /** The first is the default identity. */
  readonly identities: readonly SvidIdentity<Svid>[];
  /** Entries for which there is no SVID. */
  readonly missing: readonly WorkloadEntry[];
}

/** What a cache has for these entries now. */
export function svidState<Svid extends KeyedSvid>(
  entries: readonly WorkloadEntry[],
  cache: Pick<SvidCache<Svid>, "get">,
): SvidState<Svid> {
  const identities: SvidIdentity<Svid>[] = [];
  const missing: WorkloadEntry[] = [];
  for (const entry of entries) {
    const svid = cache.get(entry.id);
    if (svid === undefined || svid.spiffeId !== entry.spiffeId) missing.push(entry);
    else identities.push({ entry, svid });
  }
  return { identities, missing };
}

/** Whether two states name the same SVIDs with the same hints. */
export function sameIdentities<Svid>(a: SvidState<Svid>, b: SvidState<Svid>): boolean {
  return (
    a.identities.length === b.identities.length &&
    a.identities.every(({ entry, svid }, i) => {
      const other = b.identities[i];
      return other?.svid === svid && other.entry.hint === entry.hint;
    })
  );
}

/** Whether `entries` take something away that `last` gave: then nothing may wait for SVIDs that are still missing. */
export function withdraws(last: SvidState<KeyedSvid>, entries: readonly WorkloadEntry[]): boolean {
  const kept = new Map(entries.map((entry) => [entry.id, entry]));
  return last.identities.some(({ entry, svid }) => kept.get(entry.id)?.spiffeId !== svid.spiffeId);
}
