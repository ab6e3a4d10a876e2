import { parseJwkSet } from "../crypto/jose/jwk-set.ts";
import { parseCertificates } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { X509BundlesResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { parseTrustDomain, type TrustDomain } from "../spiffe/trust-domain.ts";
import type { JwtBundle, WitBundle, X509Bundle } from "./bundles.ts";

/**
 * The bundle in concatenated DER (Workload API §5.2.1). An authority whose own signature is of a kind that nobody
 * verifies is kept, bytes that are no certificate are not.
 * @throws AssayError `INVALID_CERTIFICATE`.
 */
export function readX509Bundle(trustDomain: TrustDomain, der: Uint8Array): X509Bundle {
  // Copies: a message's buffer would be kept whole for the sake of one certificate.
  const authorities = parseCertificates(der).map((certificate) => Uint8Array.from(certificate.der));
  return { profile: "x509", trustDomain, authorities };
}

/**
 * The bundles of a message by trust domain, each key the trust domain's SPIFFE ID (Workload API §5.2.2).
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_CERTIFICATE`.
 */
export function readX509Bundles(response: X509BundlesResponse): ReadonlyMap<TrustDomain, X509Bundle> {
  return byTrustDomain(response.bundles, readX509Bundle);
}

/**
 * The JWT bundles of a message by trust domain (Workload API §6.2.2).
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE`.
 */
export function readJwtBundles(
  bundles: Readonly<Record<string, Uint8Array>>,
): ReadonlyMap<TrustDomain, JwtBundle> {
  return byTrustDomain(bundles, (trustDomain, set) => ({
    profile: "jwt",
    trustDomain,
    keys: parseJwkSet(set, "jwt-svid"),
  }));
}

/**
 * The WIT bundles of a message by trust domain (Workload API §7.2.2).
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE`.
 */
export function readWitBundles(
  bundles: Readonly<Record<string, string>>,
): ReadonlyMap<TrustDomain, WitBundle> {
  return byTrustDomain(bundles, (trustDomain, set) => ({
    profile: "wit",
    trustDomain,
    keys: parseJwkSet(Buffer.from(set, "utf8"), "wit-svid"),
  }));
}

/** The trust domain that a key of the wire names: `spiffe://` and its name. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function trustDomainOfKey(key: string): TrustDomain {
  if (!key.startsWith(SCHEME)) throw new AssayError("INVALID_TRUST_DOMAIN", "key must begin with spiffe://");
  return parseTrustDomain(key.slice(SCHEME.length));
}

function byTrustDomain<Value, Bundle>(
  bundles: Readonly<Record<string, Value>>,
  read: (trustDomain: TrustDomain, value: Value) => Bundle,
): ReadonlyMap<TrustDomain, Bundle> {
  const entries = Object.entries(bundles);
  if (entries.length === 0) throw new AssayError("INVALID_REQUEST", "bundles must not be empty");
  return new Map(
    entries.map(([key, value]) => {
      const trustDomain = trustDomainOfKey(key);
      return [trustDomain, read(trustDomain, value)];
    }),
  );
}

const SCHEME = "spiffe://";
