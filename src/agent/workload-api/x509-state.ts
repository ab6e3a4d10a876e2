import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { EntryTable } from "../cache/entry-table.ts";
import type { SignedX509Svid } from "../cache/x509-signing.ts";
import type { X509Cache } from "../cache/x509-cache.ts";

/** One identity of an answer. */
export interface X509Identity {
  readonly entry: WorkloadEntry;
  readonly svid: SignedX509Svid;
}

/** Everything one answer about X509-SVIDs says. */
export interface X509State {
  /** At least one; the first is the default identity. */
  readonly identities: readonly X509Identity[];
  /** The own trust domain's bundle. */
  readonly bundle: SpiffeBundle;
  /** Foreign bundles that the entries name and that have X.509 authorities. */
  readonly federated: readonly SpiffeBundle[];
  /** Revocation lists in DER of the own and these federated trust domains. */
  readonly crls: readonly Uint8Array[];
  /** Entries for which there is no SVID. */
  readonly missing: readonly WorkloadEntry[];
}

/** What the cache has for these entries now. */
export function x509State(
  entries: readonly WorkloadEntry[],
  { table, x509 }: { readonly table: EntryTable; readonly x509: X509Cache },
): X509State {
  const identities: X509Identity[] = [];
  const missing: WorkloadEntry[] = [];
  for (const entry of entries) {
    const svid = x509.get(entry.id);
    if (svid === undefined || svid.spiffeId !== entry.spiffeId) missing.push(entry);
    else identities.push({ entry, svid });
  }
  const federated = federatedX509(entries, table);
  return {
    identities,
    missing,
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
    a.bundle === b.bundle &&
    a.identities.length === b.identities.length &&
    a.federated.length === b.federated.length &&
    a.identities.every(({ entry, svid }, i) => {
      const other = b.identities[i];
      return other?.svid === svid && other.entry.hint === entry.hint;
    }) &&
    a.federated.every((bundle, i) => bundle === b.federated[i]) &&
    sameCrls(a.crls, b.crls)
  );
}

/** Whether `next` takes something away that `last` gave: then it must not wait for SVIDs that are still missing. */
export function withdraws(last: X509State, entries: readonly WorkloadEntry[]): boolean {
  const kept = new Map(entries.map((entry) => [entry.id, entry]));
  return last.identities.some(({ entry, svid }) => kept.get(entry.id)?.spiffeId !== svid.spiffeId);
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
