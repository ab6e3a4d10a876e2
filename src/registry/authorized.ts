import type { SpiffeId } from "../spiffe/id.ts";
import type { EntryRecord } from "../store/records.ts";
import { type Directory, hasExpired } from "./directory.ts";
import { nodeSelectors, ownSelector } from "./node-directory.ts";

/**
 * The entries whose SVIDs an agent may hand out at this time (Unix seconds), in order of creation: those whose parent
 * is the agent, an alias of its node, or the SPIFFE ID of an entry already reached, and so on. A banned node has
 * none; a node that is not known has what names it by its ID.
 */
export function authorizedEntries(
  directory: Directory,
  agent: SpiffeId,
  now: number,
): readonly EntryRecord[] {
  const reached: EntryRecord[] = [];
  const parents = parentsOf(directory, agent, now);
  // The set grows while it is walked: a SPIFFE ID is entered once, so that a circle of parents ends.
  for (const parent of parents) {
    for (const entry of directory.entries.ofParent(parent)) {
      if (hasExpired(entry, now)) continue;
      reached.push(entry);
      parents.add(entry.spiffeId);
    }
  }
  return reached.toSorted((a, b) => a.ordinal - b.ordinal);
}

/**
 * One of `authorizedEntries`, by its id. Walks from the entry up to the agent, so that it costs the length of the
 * chain and not the number of the agent's entries.
 */
export function authorizedEntry(
  directory: Directory,
  agent: SpiffeId,
  entryId: string,
  now: number,
): EntryRecord | undefined {
  const entry = directory.entries.get(entryId);
  if (entry === undefined || hasExpired(entry, now)) return undefined;
  // Most entries are the agent's own: a look-up for each SVID is to make nothing that is thrown away after it.
  if (entry.parentId === agent && directory.nodes.get(agent)?.banned !== true) return entry;
  const roots = parentsOf(directory, agent, now);
  const climbed = new Set([entry.parentId]);
  for (const parent of climbed) {
    if (roots.has(parent)) return entry;
    for (const above of directory.entries.ofSpiffeId(parent)) {
      if (!hasExpired(above, now)) climbed.add(above.parentId);
    }
  }
  return undefined;
}

/** The unexpired aliases that a node has at this time (Unix seconds), in order of creation. */
export function aliasesOf(directory: Directory, agent: SpiffeId, now: number): readonly EntryRecord[] {
  const node = directory.nodes.get(agent);
  const selectors = node === undefined ? [ownSelector(agent)] : nodeSelectors(node);
  return directory.entries
    .aliasesOf(selectors)
    .filter((alias) => !hasExpired(alias, now))
    .toSorted((a, b) => a.ordinal - b.ordinal);
}

function parentsOf(directory: Directory, agent: SpiffeId, now: number): Set<SpiffeId> {
  if (directory.nodes.get(agent)?.banned === true) return new Set();
  return new Set([agent, ...aliasesOf(directory, agent, now).map((alias) => alias.spiffeId)]);
}
