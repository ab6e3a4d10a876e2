import type { LintCheck, LintFinding, LintVerdict } from "../lint.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { readSpki } from "../spki.ts";
import { jwkToSpki } from "./jwk.ts";
import { fitsKeyType, svidAlgorithmOf } from "./svid-algorithms.ts";
import { hasMembers, isJsonObject, judgeToken, lintTokenInput, type TokenInput } from "./token-input.ts";

/** What a WIT-SVID was ordered to say. Times are Unix seconds. */
export interface WitSvidOrdered {
  readonly spiffeId: string;
  /** DER SubjectPublicKeyInfo of the holder's key. */
  readonly publicKey: Uint8Array;
  readonly keyAlgorithm: string;
  readonly keyId: string;
  /** Algorithm of the authority's key. */
  readonly algorithm: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly authorityNotAfter: number;
  readonly jti: string;
}

/**
 * Reads the bytes that are about to be signed as somebody would who does not know how they were made, and compares
 * them with the profile and with what was ordered. Nothing is signed that has a finding.
 */
export function lintWitSvidInput(input: Uint8Array, ordered: WitSvidOrdered): readonly LintFinding[] {
  return lintTokenInput(input, (read, expect) => walk(read, ordered, expect));
}

/** Every rule of {@link lintWitSvidInput} with its verdict on a token that was read already. */
export function judgeWitSvid(read: TokenInput, ordered: WitSvidOrdered): readonly LintVerdict[] {
  return judgeToken(read, (one, expect) => walk(one, ordered, expect));
}

function walk({ header, claims }: TokenInput, ordered: WitSvidOrdered, expect: LintCheck): void {
  expect(hasMembers(header, ["alg", "kid", "typ"]), "§2.4", "header must have alg, kid and typ alone");
  expect(header["kid"] === ordered.keyId && ordered.keyId !== "", "§2.1", "kid must be the authority's");
  expect(header["typ"] === "wit+jwt", "§2.2", "typ must be wit+jwt");
  expect(
    header["alg"] === ordered.algorithm && svidAlgorithmOf(ordered.algorithm) !== undefined,
    "§2.3",
    "alg must be the authority's",
  );
  expect(
    hasMembers(claims, ["sub", "exp", "iat", "jti", "cnf"]),
    "§4",
    "claims must be sub, exp, iat, jti and cnf alone",
  );
  expect(claims["sub"] === ordered.spiffeId, "§3.1", "sub must be the SPIFFE ID ordered");
  const { exp, iat } = claims;
  expect(exp === ordered.expiresAt, "§3.4", "exp must be as ordered");
  expect(ordered.expiresAt <= ordered.authorityNotAfter, "§3.4", "exp must not be after the authority's end");
  expect(iat === ordered.issuedAt && ordered.issuedAt < ordered.expiresAt, "§3.6", "iat must be before exp");
  expect(claims["jti"] === ordered.jti && ordered.jti !== "", "§3.3", "jti must be as ordered");
  const detail = confirmationFault(claims["cnf"], ordered);
  expect(detail === undefined, "§3.2", detail ?? "cnf must hold the key ordered and its algorithm, alone");
}

function confirmationFault(cnf: unknown, { publicKey, keyAlgorithm }: WitSvidOrdered): string | undefined {
  if (!isJsonObject(cnf) || !hasMembers(cnf, ["jwk"])) return "cnf must have a jwk alone";
  const jwk = cnf["jwk"];
  if (!isJsonObject(jwk)) return "cnf.jwk must be an object";
  const members = jwk["kty"] === "RSA" ? ["kty", "n", "e", "alg"] : ["kty", "crv", "x", "y", "alg"];
  if (!hasMembers(jwk, members)) return `cnf.jwk must have ${members.join(", ")} alone`;
  const algorithm = svidAlgorithmOf(keyAlgorithm);
  if (algorithm === undefined || jwk["alg"] !== algorithm) return "cnf.jwk.alg must be as ordered";
  try {
    const spki = jwkToSpki(jwk);
    if (Buffer.compare(spki, publicKey) !== 0) return "cnf.jwk must be the key ordered";
    return fitsKeyType(algorithm, readSpki(spki, "INVALID_BUNDLE").keyType)
      ? undefined
      : "cnf.jwk.alg must fit the key";
  } catch (error) {
    return `cnf.jwk: ${error instanceof AssayError ? error.detail : "no key"}`;
  }
}
