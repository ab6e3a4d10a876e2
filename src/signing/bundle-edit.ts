import { readCertificate } from "../crypto/certificate-reader.ts";
import { keyTypeOf } from "../crypto/keys.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../spiffe/bundle.ts";

/** Authorities to add to a bundle. */
export interface BundleAdditions {
  /** DER certificates of X.509 authorities. */
  readonly x509Authorities: readonly Uint8Array[];
  readonly jwtAuthorities: readonly JwtAuthorityKey[];
}

/**
 * The bundle with these authorities in it, each once; the same object where all are in it already. What is there
 * stays as it is: a tainted authority does not become untainted by being added again.
 */
export function withAuthorities(bundle: SpiffeBundle, additions: BundleAdditions): SpiffeBundle {
  const certificates = additions.x509Authorities.filter(
    (certificate, at, all) =>
      !bundle.x509Authorities.some((held) => equal(held.certificate, certificate)) &&
      all.findIndex((other) => equal(other, certificate)) === at,
  );
  const keys = additions.jwtAuthorities.filter(
    (key, at, all) =>
      !bundle.jwtAuthorities.some((held) => held.keyId === key.keyId) &&
      all.findIndex((other) => other.keyId === key.keyId) === at,
  );
  if (certificates.length === 0 && keys.length === 0) return bundle;
  return {
    ...bundle,
    x509Authorities: [
      ...bundle.x509Authorities,
      ...certificates.map((certificate) => ({ certificate, tainted: false })),
    ],
    jwtAuthorities: [...bundle.jwtAuthorities, ...keys],
  };
}

/** The bundle without the X.509 authority with this certificate; the same object where it is not in it. */
export function withoutX509Authority(bundle: SpiffeBundle, certificate: Uint8Array): SpiffeBundle {
  const x509Authorities = bundle.x509Authorities.filter((held) => !equal(held.certificate, certificate));
  return x509Authorities.length === bundle.x509Authorities.length ? bundle : { ...bundle, x509Authorities };
}

/** The bundle without the JWT authority with this key id; the same object where it is not in it. */
export function withoutJwtAuthority(bundle: SpiffeBundle, keyId: string): SpiffeBundle {
  const jwtAuthorities = bundle.jwtAuthorities.filter((held) => held.keyId !== keyId);
  return jwtAuthorities.length === bundle.jwtAuthorities.length ? bundle : { ...bundle, jwtAuthorities };
}

/**
 * Checks authorities that came from outside before they are added: certificates of CAs, keys that a JWT authority can
 * have, and no key ID that the bundle or the additions use for another key.
 * @throws AssayError `INVALID_BUNDLE` naming which one is wrong.
 */
export function checkAdditions(bundle: SpiffeBundle, additions: BundleAdditions): void {
  for (const [at, der] of additions.x509Authorities.entries()) {
    const { basicConstraints } = readCertificate(der, "INVALID_BUNDLE");
    if (basicConstraints?.ca !== true) throw invalid(`x509Authorities/${at} is not the certificate of a CA`);
  }
  const keys = new Map(bundle.jwtAuthorities.map((held) => [held.keyId, held.publicKey]));
  for (const [at, { keyId, publicKey }] of additions.jwtAuthorities.entries()) {
    if (keyId === "") throw invalid(`jwtAuthorities/${at} has no key id`);
    keyTypeOf(publicKey, "INVALID_BUNDLE");
    const held = keys.get(keyId);
    if (held !== undefined && !equal(held, publicKey)) {
      throw invalid(`jwtAuthorities/${at} has the key id of another key`);
    }
    keys.set(keyId, publicKey);
  }
}

function invalid(detail: string): AssayError {
  return new AssayError("INVALID_BUNDLE", detail);
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
