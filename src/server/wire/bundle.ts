import type { MessageInitShape } from "@bufbuild/protobuf";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { importPublicKey } from "../../crypto/keys.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type {
  Bundle,
  BundleMask,
  BundleSchema,
  JWTKey,
  WITKey,
  X509Certificate,
} from "../../proto/gen/spire/api/types/bundle_pb.ts";
import type {
  JwtAuthorityKey,
  SpiffeBundle,
  WitAuthorityKey,
  X509AuthorityCertificate,
} from "../../spiffe/bundle.ts";
import { parseTrustDomainOrId } from "../../spiffe/trust-domain.ts";

/** A bundle as the wire library takes it. */
export type WireBundle = MessageInitShape<typeof BundleSchema>;

/**
 * Writes a bundle for the wire. A mask that is absent keeps everything; one that is there keeps the trust domain and
 * what it names.
 */
export function bundleToWire(bundle: SpiffeBundle, mask?: BundleMask): WireBundle {
  const keeps = (field: Exclude<keyof BundleMask, `$${string}`>): boolean =>
    mask === undefined || mask[field];
  return {
    trustDomain: bundle.trustDomain,
    ...(keeps("x509Authorities") && {
      x509Authorities: bundle.x509Authorities.map(({ certificate, tainted }) => ({
        asn1: certificate,
        tainted,
      })),
    }),
    ...(keeps("jwtAuthorities") && {
      jwtAuthorities: keysToWire(bundle.jwtAuthorities),
    }),
    ...(keeps("witAuthorities") && {
      witAuthorities: keysToWire(bundle.witAuthorities),
    }),
    ...(keeps("refreshHint") && { refreshHint: BigInt(bundle.refreshHint) }),
    ...(keeps("sequenceNumber") && { sequenceNumber: bundle.sequence }),
  };
}

/** Writes JWT or WIT authorities for the wire. */
export function keysToWire(keys: readonly JwtAuthorityKey[]) {
  return keys.map((key) => ({ ...key, expiresAt: BigInt(key.expiresAt) }));
}

/**
 * Reads a bundle from the wire; every certificate and key is parsed.
 * @throws AssayError `INVALID_BUNDLE` or `INVALID_TRUST_DOMAIN`.
 */
export function bundleFromWire(wire: Bundle): SpiffeBundle {
  if (wire.refreshHint < 0n || wire.refreshHint > MAX_REFRESH_HINT) {
    throw new AssayError("INVALID_BUNDLE", `refresh_hint: expected 0 to ${MAX_REFRESH_HINT} seconds`);
  }
  return {
    trustDomain: parseTrustDomainOrId(wire.trustDomain),
    sequence: wire.sequenceNumber,
    refreshHint: Number(wire.refreshHint),
    x509Authorities: x509AuthoritiesFromWire(wire.x509Authorities),
    jwtAuthorities: jwtAuthoritiesFromWire(wire.jwtAuthorities),
    witAuthorities: witAuthoritiesFromWire(wire.witAuthorities),
  };
}

/** Reads X.509 authorities. @throws AssayError `INVALID_BUNDLE` naming the first that is no certificate. */
export function x509AuthoritiesFromWire(
  wire: readonly X509Certificate[],
): readonly X509AuthorityCertificate[] {
  return wire.map(({ asn1, tainted }, index) => {
    const where = `x509_authorities[${index}]`;
    if (!isAuthority(asn1, where))
      throw new AssayError("INVALID_BUNDLE", `${where}: not the certificate of a CA`);
    return { certificate: asn1, tainted };
  });
}

/** Reads JWT authorities. @throws AssayError `INVALID_BUNDLE` naming the first that is no public key or has no id. */
export function jwtAuthoritiesFromWire(wire: readonly JWTKey[]): readonly JwtAuthorityKey[] {
  return keysFromWire(wire, "jwt_authorities");
}

/** Reads WIT authorities. @throws AssayError `INVALID_BUNDLE` naming the first that is no public key or has no id. */
export function witAuthoritiesFromWire(wire: readonly WITKey[]): readonly WitAuthorityKey[] {
  return keysFromWire(wire, "wit_authorities");
}

function keysFromWire(wire: readonly (JWTKey | WITKey)[], field: string): readonly JwtAuthorityKey[] {
  const ids = new Set<string>();
  return wire.map(({ publicKey, keyId, expiresAt, tainted }, index) => {
    const where = `${field}[${index}]`;
    if (keyId === "") throw new AssayError("INVALID_BUNDLE", `${where}: missing key ID`);
    if (keyId.length > MAX_KEY_ID) {
      throw new AssayError("INVALID_BUNDLE", `${where}: key ID: expected at most ${MAX_KEY_ID} characters`);
    }
    if (expiresAt < 0n || expiresAt > MAX_EXPIRES_AT) {
      throw new AssayError("INVALID_BUNDLE", `${where}: expires_at: expected 0 to ${MAX_EXPIRES_AT} seconds`);
    }
    if (ids.has(keyId)) throw new AssayError("INVALID_BUNDLE", `${where}: key ID is repeated`);
    ids.add(keyId);
    try {
      importPublicKey(publicKey, "INVALID_BUNDLE");
    } catch (error) {
      throw malformed(where, error);
    }
    return { keyId, publicKey, expiresAt: Number(expiresAt), tainted };
  });
}

function isAuthority(der: Uint8Array, where: string): boolean {
  try {
    return readCertificate(der).basicConstraints?.ca === true;
  } catch (error) {
    throw malformed(where, error);
  }
}

function malformed(field: string, error: unknown): AssayError {
  const detail = error instanceof AssayError ? error.detail : "malformed";
  return new AssayError("INVALID_BUNDLE", `${field}: ${detail}`, { cause: error });
}

const MAX_REFRESH_HINT = 31_536_000n;
const MAX_KEY_ID = 1024;
const MAX_EXPIRES_AT = BigInt(Number.MAX_SAFE_INTEGER);
