import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type EntryTable, sameKeys, sameX509Authorities } from "../cache/entry-table.ts";
import { crlsOf, namedBundles, sameCrls } from "./x509-state.ts";

/** Which keys of bundles an answer is about. */
export type BundleKind = "x509" | "jwt" | "wit";

/** Everything one answer about bundles says. */
export interface BundleState {
  /** The own trust domain's is first; a foreign one is among them only if it has keys of the kind. */
  readonly bundles: readonly SpiffeBundle[];
  /** Revocation lists in DER of these trust domains; none unless X.509 is meant. */
  readonly crls: readonly Uint8Array[];
}

/** The bundles that callers with these entries may use for documents of this kind. */
export function bundleState(
  kind: BundleKind,
  entries: readonly WorkloadEntry[],
  table: EntryTable,
): BundleState {
  // A foreign trust domain without keys is left out: it would break clients that expect one in each.
  const foreign = namedBundles(entries, table).filter((bundle) => keysOf(kind, bundle).length > 0);
  const bundles = [table.bundle, ...foreign];
  return { bundles, crls: kind === "x509" ? crlsOf(bundles, table) : [] };
}

/** Whether two states make the same message. What keys of other kinds do is no change of it. */
export function sameBundleState(kind: BundleKind, a: BundleState | undefined, b: BundleState): boolean {
  return (
    a?.bundles.length === b.bundles.length &&
    a.bundles.every((left, i) => {
      const right = b.bundles[i] as SpiffeBundle;
      if (left === right) return true;
      return left.trustDomain === right.trustDomain && sameAuthorities(kind, left, right);
    }) &&
    sameCrls(a.crls, b.crls)
  );
}

function sameAuthorities(kind: BundleKind, a: SpiffeBundle, b: SpiffeBundle): boolean {
  switch (kind) {
    case "x509":
      return sameX509Authorities(a.x509Authorities, b.x509Authorities);
    case "jwt":
      return sameKeys(a.jwtAuthorities, b.jwtAuthorities);
    case "wit":
      return sameKeys(a.witAuthorities, b.witAuthorities);
  }
}

function keysOf(kind: BundleKind, bundle: SpiffeBundle): readonly unknown[] {
  switch (kind) {
    case "x509":
      return bundle.x509Authorities;
    case "jwt":
      return bundle.jwtAuthorities;
    case "wit":
      return bundle.witAuthorities;
  }
}
