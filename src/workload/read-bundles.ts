import { parseJwkSet } from "../crypto/jose/jwk-set.ts";
import { parseCertificates } from "../crypto/pem.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
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

/** Told of bundles that cannot be read and are left out. */
type OnProblem = (problem: AssayError) => void;

/**
 * The bundles of a message by trust domain, each key the trust domain's SPIFFE ID (Workload API §5.2.2). One that cannot be
 * read is reported and left out, so that its trust domain is not trusted and no other's bundle grows old with it.
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_CERTIFICATE` where none can
 * be read.
 */
export function readX509Bundles(
  response: X509BundlesResponse,
  onProblem: OnProblem = ignore,
): ReadonlyMap<TrustDomain, X509Bundle> {
  return byTrustDomain(response.bundles, readX509Bundle, onProblem);
}

/**
 * The JWT bundles of a message by trust domain (Workload API §6.2.2), as {@link readX509Bundles}.
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE` where none can be read.
 */
export function readJwtBundles(
  bundles: Readonly<Record<string, Uint8Array>>,
  onProblem: OnProblem = ignore,
): ReadonlyMap<TrustDomain, JwtBundle> {
  const read = (trustDomain: TrustDomain, set: Uint8Array): JwtBundle => {
    return { profile: "jwt", trustDomain, keys: parseJwkSet(set, "jwt-svid") };
  };
  return byTrustDomain(bundles, read, onProblem);
}

/**
 * The WIT bundles of a message by trust domain (Workload API §7.2.2), as {@link readX509Bundles}.
 * @throws AssayError `INVALID_REQUEST` where the map is empty, `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE` where none can be read.
 */
export function readWitBundles(
  bundles: Readonly<Record<string, string>>,
  onProblem: OnProblem = ignore,
): ReadonlyMap<TrustDomain, WitBundle> {
  const read = (trustDomain: TrustDomain, set: string): WitBundle => {
    return { profile: "wit", trustDomain, keys: parseJwkSet(Buffer.from(set, "utf8"), "wit-svid") };
  };
  return byTrustDomain(bundles, read, onProblem);
}

/**
 * What `read` makes of a trust domain's bundle; where it throws that is reported, and there is none.
 */
export function readOrReport<Bundle>(
  trustDomain: TrustDomain,
  read: () => Bundle,
  onProblem: OnProblem,
): Bundle | undefined {
  try {
    return read();
  } catch (thrown) {
    const { code, detail } = toAssayError(thrown);
    onProblem(
      new AssayError(code, `bundle of ${trustDomain} left out, nothing of it is trusted: ${detail}`, {
        cause: thrown,
      }),
    );
    return undefined;
  }
}

/** The trust domain that a key of the wire names: `spiffe://` and its name. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function trustDomainOfKey(key: string): TrustDomain {
  if (!key.startsWith(SCHEME)) throw new AssayError("INVALID_TRUST_DOMAIN", "key must begin with spiffe://");
  return parseTrustDomain(key.slice(SCHEME.length));
}

function byTrustDomain<Value, Bundle>(
  bundles: Readonly<Record<string, Value>>,
  read: (trustDomain: TrustDomain, value: Value) => Bundle,
  onProblem: OnProblem,
): ReadonlyMap<TrustDomain, Bundle> {
  const entries = Object.entries(bundles).map(([key, value]) => [trustDomainOfKey(key), value] as const);
  if (entries.length === 0) throw new AssayError("INVALID_REQUEST", "bundles must not be empty");
  const problems: AssayError[] = [];
  const readable = new Map<TrustDomain, Bundle>();
  for (const [trustDomain, value] of entries) {
    const bundle = readOrReport(
      trustDomain,
      () => read(trustDomain, value),
      (problem) => problems.push(problem),
    );
    if (bundle !== undefined) readable.set(trustDomain, bundle);
  }
  const [first] = problems;
  if (readable.size === 0 && first !== undefined) throw first;
  for (const problem of problems) onProblem(problem);
  return readable;
}

function ignore(): void {
  // Whoever does not ask is not told.
}

const SCHEME = "spiffe://";
