import { type Clock, systemClock, unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { verifyChain } from "../crypto/chain.ts";
import { requireUnrevoked } from "../crypto/crl.ts";
import { type JwtSvidFacts, parseJwtSvidInsecure, verifyJwtSvid } from "../crypto/jose/jwt-svid-verify.ts";
import { serialToHex } from "../crypto/random.ts";
import { parseX509Svid } from "../crypto/x509-svid.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { AssayError } from "../errors/assay-error.ts";
import { type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import { certificatesOf, type JwtBundleSource, type X509BundleSource } from "./bundles.ts";

/** How an X509-SVID is judged. */
export interface X509Validation {
  /** What its holder does with it: `client` where it calls us, `server` where we call it. Either unless told. */
  readonly role?: "client" | "server";
  /** The machine's clock unless given. */
  readonly clock?: Clock;
  /** The moment that validity is asked of, Unix seconds; the clock's now unless given. */
  readonly at?: number;
}

/** A peer that has proved its X509-SVID. */
export interface ValidX509Svid {
  readonly spiffeId: SpiffeId;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Lower-case hex of the leaf's serial number. */
  readonly serial: string;
}

/**
 * Validates an X509-SVID (X509-SVID §5): the leaf by the profile, and a path to the bundle of the very trust domain that
 * its ID names; one that another trust domain's authority signed is worth nothing. Certificates on the path that a
 * revocation list of their issuer names are refused. Not checked: that the peer has the key; TLS does that.
 * @param chain DER certificates, leaf first, then at most 16 intermediates.
 * @throws AssayError `INVALID_CERTIFICATE` naming what is wrong, `BUNDLE_NOT_FOUND` for a trust domain without a bundle.
 */
export function validateX509Svid(
  chain: readonly Uint8Array[],
  source: X509BundleSource,
  { role, clock = systemClock, at = unixSeconds(clock) }: X509Validation = {},
): ValidX509Svid {
  const [leaf, ...intermediates] = chain.map((der) => readCertificate(der));
  if (leaf === undefined) throw new AssayError("INVALID_CERTIFICATE", "X509-SVID has no certificate");
  const { spiffeId, notAfter, serial } = parseX509Svid(leaf);
  const trustDomain = trustDomainOf(spiffeId);
  const bundle = source.x509Bundles().get(trustDomain);
  if (bundle?.profile !== "x509" || bundle.trustDomain !== trustDomain) {
    throw new AssayError("BUNDLE_NOT_FOUND", `there is no X.509 bundle of the trust domain ${trustDomain}`);
  }
  const path = verifyChain({
    leaf,
    intermediates,
    roots: certificatesOf(bundle),
    at,
    ...(role === undefined ? {} : { requiredPurpose: PURPOSES[role] }),
  });
  requireUnrevoked(path, source.crls?.() ?? []);
  return { spiffeId, notAfter, serial: serialToHex(serial) };
}

/** How a JWT-SVID is judged. */
export interface JwtValidation {
  /** The validator's own audience, compared exactly (JWT-SVID §3.2). */
  readonly audience: string;
  /** How far clocks may differ, in seconds, 0 unless given. */
  readonly leewaySeconds?: number;
  /** The machine's clock unless given. */
  readonly clock?: Clock;
}

/**
 * Validates a JWT-SVID (JWT-SVID §4) with the JWT bundle of its subject's trust domain and no other (Workload API §6.3).
 * @throws AssayError `INVALID_JWT_SVID`; the detail never quotes the token.
 */
export async function validateJwtSvid(
  token: string,
  source: JwtBundleSource,
  { audience, leewaySeconds = 0, clock = systemClock }: JwtValidation,
): Promise<JwtSvidFacts> {
  const trustDomain = trustDomainOf(parseJwtSvidInsecure(token).spiffeId);
  const bundle = source.jwtBundles().get(trustDomain);
  if (bundle?.profile !== "jwt" || bundle.trustDomain !== trustDomain) {
    throw new AssayError("INVALID_JWT_SVID", `there is no JWT bundle of the trust domain ${trustDomain}`);
  }
  return verifyJwtSvid(token, bundle.keys, { audience, leewaySeconds, now: unixSeconds(clock) });
}

const PURPOSES = { client: OIDS.clientAuth, server: OIDS.serverAuth } as const;
