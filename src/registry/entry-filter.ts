import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector, type Selector } from "../spiffe/selector.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryRecord } from "../store/records.ts";
import type { EntryDirectory } from "./entry-directory.ts";
import { type SetMatch, setTest } from "./set-match.ts";

/** Which entries; all that is set must hold. */
export interface EntryFilter {
  readonly spiffeId?: SpiffeId | undefined;
  readonly parentId?: SpiffeId | undefined;
  readonly selectors?: { readonly selectors: readonly Selector[]; readonly match: SetMatch } | undefined;
  readonly federatesWith?:
    | { readonly trustDomains: readonly TrustDomain[]; readonly match: SetMatch }
    | undefined;
  readonly hint?: string | undefined;
  readonly downstream?: boolean | undefined;
}

/**
 * The shortest sorted list that holds everything the filter lets through, and the test for what is in it.
 * @throws AssayError `INVALID_REQUEST` for an empty set in the filter.
 */
export function filteredEntries(
  directory: EntryDirectory,
  filter: EntryFilter,
): { readonly list: readonly EntryRecord[]; readonly keeps: (entry: EntryRecord) => boolean } {
  const { spiffeId, parentId, selectors, federatesWith, hint, downstream } = filter;
  const lists = [directory.all];
  if (spiffeId !== undefined) lists.push(directory.ofSpiffeId(spiffeId));
  if (parentId !== undefined) lists.push(directory.ofParent(parentId));
  const tests: ((entry: EntryRecord) => boolean)[] = [];
  if (spiffeId !== undefined) tests.push((entry) => entry.spiffeId === spiffeId);
  if (parentId !== undefined) tests.push((entry) => entry.parentId === parentId);
  if (hint !== undefined) tests.push((entry) => entry.hint === hint);
  if (downstream !== undefined) tests.push((entry) => entry.downstream === downstream);
  if (federatesWith !== undefined) {
    const test = setTest("federates with", federatesWith.trustDomains, federatesWith.match);
    tests.push((entry) => test(entry.federatesWith));
  }
  if (selectors !== undefined) {
    const test = setTest("selectors", selectors.selectors.map(formatSelector), selectors.match);
    tests.push((entry) => test(entry.selectors.map(formatSelector)));
  }
  return {
    list: lists.reduce((shortest, list) => (list.length < shortest.length ? list : shortest)),
    keeps: (entry) => tests.every((test) => test(entry)),
  };
}
