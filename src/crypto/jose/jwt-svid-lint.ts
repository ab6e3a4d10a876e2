import type { LintCheck, LintFinding, LintVerdict } from "../lint.ts";
import { isMemberOf, pathOf, type SpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { type ExtraClaims, holdsExtraClaims } from "./extra-claims.ts";
import { svidAlgorithmOf } from "./svid-algorithms.ts";
import { hasMembers, judgeToken, lintTokenInput, type TokenInput } from "./token-input.ts";

/** What a JWT-SVID was ordered to say. Times are Unix seconds. */
export interface JwtSvidOrdered {
  readonly trustDomain: TrustDomain;
  readonly spiffeId: SpiffeId;
  readonly audiences: readonly string[];
  readonly keyId: string;
  /** Algorithm of the authority's key. */
  readonly algorithm: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly authorityNotAfter: number;
  readonly issuer?: string | undefined;
  readonly jti?: string | undefined;
  /** Claims besides those above. */
  readonly extra?: ExtraClaims | undefined;
}

/**
 * Reads the bytes that are about to be signed as somebody would who does not know how they were made, and compares
 * them with the profile (JWT-SVID §2, §3) and with what was ordered. Nothing is signed that has a finding.
 */
export function lintJwtSvidInput(input: Uint8Array, ordered: JwtSvidOrdered): readonly LintFinding[] {
  return lintTokenInput(input, (read, expect) => walk(read, ordered, expect));
}

/** Every rule of {@link lintJwtSvidInput} with its verdict on a token that was read already. */
export function judgeJwtSvid(read: TokenInput, ordered: JwtSvidOrdered): readonly LintVerdict[] {
  return judgeToken(read, (one, expect) => walk(one, ordered, expect));
}

function walk({ header, claims }: TokenInput, ordered: JwtSvidOrdered, expect: LintCheck): void {
  const { keyId, algorithm, spiffeId, audiences, issuedAt, expiresAt, issuer, jti, extra = {} } = ordered;
  expect(hasMembers(header, ["alg", "kid", "typ"]), "§2", "header must have alg, kid and typ alone");
  expect(
    header["alg"] === algorithm && svidAlgorithmOf(algorithm) !== undefined,
    "§2.1",
    "alg must be the authority's",
  );
  expect(header["kid"] === keyId && keyId !== "", "§2.2", "kid must be the authority's");
  expect(header["typ"] === "JWT", "§2.3", "typ must be JWT");
  const members = ["sub", "aud", "exp", "iat"];
  if (issuer !== undefined) members.push("iss");
  if (jti !== undefined) members.push("jti");
  members.push(...Object.keys(extra));
  expect(hasMembers(claims, members), "§3", "claims must be sub, aud, exp, iat, and iss and jti as ordered");
  expect(claims["sub"] === spiffeId, "§3.1", "sub must be the SPIFFE ID ordered");
  expect(
    isMemberOf(spiffeId, ordered.trustDomain) && pathOf(spiffeId) !== "",
    "§3.1",
    "sub must be a member of the trust domain and have a path",
  );
  expect(isSameList(claims["aud"], audiences), "§3.2", "aud must be the audiences ordered, at least one");
  expect(claims["exp"] === expiresAt, "§3.3", "exp must be as ordered");
  expect(expiresAt <= ordered.authorityNotAfter, "§3.3", "exp must not be after the authority's end");
  expect(claims["iat"] === issuedAt && issuedAt < expiresAt, "§3.3", "iat must be before exp");
  expect(claims["iss"] === issuer, "§3", "iss must be as configured");
  expect(claims["jti"] === jti && jti !== "", "§3", "jti must be as ordered");
  expect(holdsExtraClaims(claims, extra), "§3", "further claims must be as ordered");
}

function isSameList(value: unknown, ordered: readonly string[]): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length === ordered.length &&
    value.every((one, at) => one === ordered[at] && one !== "")
  );
}
