import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type EntryTable, sameKeys } from "../cache/entry-table.ts";
import { crlsOf, namedBundles, sameCrls, sameX509Bundles } from "./x509-state.ts";

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
  if (a === undefined || a.bundles.length !== b.bundles.length) return false;
  if (kind === "x509") return sameX509Bundles(a.bundles, b.bundles) && sameCrls(a.crls, b.crls);
  const keys = kind === "jwt" ? "jwtAuthorities" : "witAuthorities";
  return a.bundles.every((left, i) => {
    const right = b.bundles[i] as SpiffeBundle;
    return left === right || (left.trustDomain === right.trustDomain && sameKeys(left[keys], right[keys]));
  });
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
