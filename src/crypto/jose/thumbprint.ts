import { hash } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { jwkToSpki, spkiToJwk } from "./jwk.ts";

/**
 * Thumbprint of a public key: SHA-256 over the required members in alphabetical order, in base64url without padding, 43
 * characters (RFC 7638 §3). What `cnf.jkt` says (RFC 9449 §6.1). Members that do not make the key, `kid` or `alg`, do not
 * count; one key has one thumbprint, so a number with leading zero octets is refused.
 * @throws AssayError `code`, `INVALID_BUNDLE` unless given, for what is no public key as `jwkToSpki` reads it.
 */
export function jwkThumbprint(jwk: unknown, code: ErrorCode = "INVALID_BUNDLE"): string {
  return spkiThumbprint(strictJwkToSpki(jwk, code));
}

/** Thumbprint of the key of a SubjectPublicKeyInfo, as {@link jwkThumbprint}. @throws AssayError `INVALID_BUNDLE`. */
export function spkiThumbprint(spki: Uint8Array): string {
  const jwk = spkiToJwk(spki);
  const members =
    jwk.kty === "EC"
      ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y }
      : { e: jwk.e, kty: jwk.kty, n: jwk.n };
  return hash("sha256", JSON.stringify(members), "base64url");
}

/**
 * The SubjectPublicKeyInfo of a JWK that is public in all its members and the only spelling of its key.
 * @throws AssayError `code` naming the member.
 */
export function strictJwkToSpki(jwk: unknown, code: ErrorCode): Uint8Array {
  let spki: Uint8Array;
  try {
    spki = jwkToSpki(jwk);
  } catch (error) {
    throw error instanceof AssayError ? new AssayError(code, error.detail) : error;
  }
  const members = jwk as Readonly<Record<string, unknown>>;
  const secret = PRIVATE_MEMBERS.find((name) => name in members);
  if (secret !== undefined) {
    throw new AssayError(code, `JWK must be a public key, has the private member ${secret}`);
  }
  for (const [name, value] of Object.entries(spkiToJwk(spki))) {
    if (members[name] !== value) throw new AssayError(code, `JWK member ${name} has leading zero octets`);
  }
  return spki;
}

/** Whether the text has the form of a SHA-256 thumbprint: 32 octets in base64url without padding. */
export function isThumbprint(text: unknown): text is string {
  return (
    typeof text === "string" &&
    text.length === THUMBPRINT_CHARACTERS &&
    Buffer.from(text, "base64url").toString("base64url") === text
  );
}

const THUMBPRINT_CHARACTERS = 43;
// RFC 7518 §6.2.2, §6.3.2, §6.4.1; `d` is refused before.
const PRIVATE_MEMBERS = ["p", "q", "dp", "dq", "qi", "oth", "k"];
