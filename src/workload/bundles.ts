import type { KeyObject } from "node:crypto";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import type { CertificateRevocationList } from "../crypto/crl.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** The certificates that X509-SVIDs of one trust domain chain to (X509-SVID §6), and nothing else is judged by. */
export interface X509Bundle {
  readonly profile: "x509";
  readonly trustDomain: TrustDomain;
  /** DER, one certificate each. None means that no X509-SVID of the trust domain is trusted. */
  readonly authorities: readonly Uint8Array[];
}

/** The keys that JWT-SVIDs of one trust domain are signed with, by `kid` (JWT-SVID §6), and nothing else is judged by. */
export interface JwtBundle {
  readonly profile: "jwt";
  readonly trustDomain: TrustDomain;
  readonly keys: ReadonlyMap<string, { readonly publicKey: KeyObject }>;
}

/** The keys that WIT-SVIDs of one trust domain are signed with, by `kid` (WIT-SVID §6), and nothing else is judged by. */
export interface WitBundle {
  readonly profile: "wit";
  readonly trustDomain: TrustDomain;
  readonly keys: ReadonlyMap<string, { readonly publicKey: KeyObject }>;
}

/** Whoever hears of changes. */
export interface Updates {
  /** Calls back after each change, a withdrawal among them, until what it returns is disposed. */
  onUpdate(listener: () => void): Disposable;
}

/** Where X.509 bundles come from. A trust domain that is not in the map is not trusted (Workload API §4.6). */
export interface X509BundleSource extends Updates {
  x509Bundles(): ReadonlyMap<TrustDomain, X509Bundle>;
  /** Revocation lists that apply besides, if there are any. */
  crls?(): readonly CertificateRevocationList[];
}

/** Where JWT bundles come from. A trust domain that is not in the map is not trusted (Workload API §6.3). */
export interface JwtBundleSource extends Updates {
  jwtBundles(): ReadonlyMap<TrustDomain, JwtBundle>;
}

/** Where WIT bundles come from. A trust domain that is not in the map is not trusted. */
export interface WitBundleSource extends Updates {
  witBundles(): ReadonlyMap<TrustDomain, WitBundle>;
}

/** The authorities of a bundle, read once; one that cannot be read trusts nobody and spoils no other. */
export function certificatesOf(bundle: X509Bundle): readonly Certificate[] {
  let certificates = read.get(bundle);
  if (certificates === undefined) {
    certificates = bundle.authorities.flatMap((der) => readOrNothing(der));
    read.set(bundle, certificates);
  }
  return certificates;
}

function readOrNothing(der: Uint8Array): readonly Certificate[] {
  try {
    return [readCertificate(der)];
  } catch {
    return [];
  }
}

const read = new WeakMap<X509Bundle, readonly Certificate[]>();
