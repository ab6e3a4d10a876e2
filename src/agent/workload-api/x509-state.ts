import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type EntryTable, sameX509Authorities } from "../cache/entry-table.ts";
import type { SignedX509Svid } from "../cache/x509-signing.ts";
import { sameIdentities, type SvidIdentity, type SvidState, svidState } from "./svid-state.ts";
import type { SvidCache } from "../cache/svid-cache.ts";

/** One identity of an answer. */
export type X509Identity = SvidIdentity<SignedX509Svid>;

/** Everything one answer about X509-SVIDs says. */
export interface X509State extends SvidState<SignedX509Svid> {
  /** The own trust domain's bundle. */
  readonly bundle: SpiffeBundle;
  /** Foreign bundles that the entries name and that have X.509 authorities. */
  readonly federated: readonly SpiffeBundle[];
  /** Revocation lists in DER of the own and these federated trust domains. */
  readonly crls: readonly Uint8Array[];
}

/** What the cache has for these entries now. */
export function x509State(
  entries: readonly WorkloadEntry[],
  { table, x509 }: { readonly table: EntryTable; readonly x509: SvidCache<SignedX509Svid> },
): X509State {
  const federated = federatedX509(entries, table);
  return {
    ...svidState(entries, x509),
    bundle: table.bundle,
    federated,
    crls: crlsOf([table.bundle, ...federated], table),
  };
}

/** Revocation lists in DER of the trust domains of these bundles. */
export function crlsOf(bundles: readonly SpiffeBundle[], table: EntryTable): readonly Uint8Array[] {
  return bundles.flatMap(({ trustDomain }) => table.crls.get(trustDomain) ?? []);
}

/** Whether two answers hold the same revocation lists: what did not change is the same object. */
export function sameCrls(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((crl, i) => crl === b[i]);
}

/** Whether two states make the same message. */
export function sameX509State(a: X509State | undefined, b: X509State): boolean {
  return (
    a !== undefined &&
    sameIdentities(a, b) &&
    sameX509Bundles([a.bundle, ...a.federated], [b.bundle, ...b.federated]) &&
    sameCrls(a.crls, b.crls)
  );
}

/** Whether two lists name the same X.509 authorities of the same trust domains; their other keys play no part. */
export function sameX509Bundles(a: readonly SpiffeBundle[], b: readonly SpiffeBundle[]): boolean {
  return (
    a.length === b.length &&
    a.every((left, i) => {
      const right = b[i] as SpiffeBundle;
      if (left === right) return true;
      return (
        left.trustDomain === right.trustDomain &&
        sameX509Authorities(left.x509Authorities, right.x509Authorities)
      );
    })
  );
}

/** Foreign bundles with X.509 authorities that the entries name, in the order of their names. */
export function federatedX509(entries: readonly WorkloadEntry[], table: EntryTable): readonly SpiffeBundle[] {
  // A trust domain without authorities is left out: it would break clients that expect one in each.
  return namedBundles(entries, table).filter((bundle) => bundle.x509Authorities.length > 0);
}

/** Foreign bundles that the entries name, in the order of their names. */
export function namedBundles(entries: readonly WorkloadEntry[], table: EntryTable): readonly SpiffeBundle[] {
  const names = [...new Set(entries.flatMap((entry) => entry.federatesWith))].toSorted();
  return names.flatMap((name) => table.federated.get(name) ?? []);
}
