import type { LintCheck, LintFinding, LintVerdict } from "../lint.ts";
import { ACCESS_TOKEN_TYPE, type AccessTokenClaims, confirmationClaim, statusClaim } from "./access-token.ts";
import { holdsExtraClaims } from "./extra-claims.ts";
import { svidAlgorithmOf } from "./svid-algorithms.ts";
import { isThumbprint } from "./thumbprint.ts";
import { hasMembers, judgeToken, lintTokenInput, type TokenInput } from "./token-input.ts";

/** What an access token was ordered to say. */
export interface AccessTokenOrdered extends AccessTokenClaims {
  readonly keyId: string;
  /** Algorithm of the authority's key. */
  readonly algorithm: string;
  /** Unix seconds. */
  readonly authorityNotAfter: number;
}

/**
 * Reads the bytes that are about to be signed as somebody would who does not know how they were made, and compares
 * them with the profile (RFC 9068 §2) and with what was ordered. Nothing is signed that has a finding.
 */
export function lintAccessTokenInput(input: Uint8Array, ordered: AccessTokenOrdered): readonly LintFinding[] {
  return lintTokenInput(input, (read, expect) => walk(read, ordered, expect));
}

/** Every rule of {@link lintAccessTokenInput} with its verdict on a token that was read already. */
export function judgeAccessToken(read: TokenInput, ordered: AccessTokenOrdered): readonly LintVerdict[] {
  return judgeToken(read, (one, expect) => walk(one, ordered, expect));
}

function walk({ header, claims }: TokenInput, ordered: AccessTokenOrdered, expect: LintCheck): void {
  const { keyId, algorithm, confirmation, status, act, scope, extra = {} } = ordered;
  expect(hasMembers(header, ["alg", "kid", "typ"]), "§2.1", "header must have alg, kid and typ alone");
  expect(header["typ"] === ACCESS_TOKEN_TYPE, "§2.1", `typ must be ${ACCESS_TOKEN_TYPE}`);
  expect(header["kid"] === keyId && keyId !== "", "§2.1", "kid must be the authority's");
  expect(
    header["alg"] === algorithm && svidAlgorithmOf(algorithm) !== undefined,
    "§2.1",
    "alg must be the authority's",
  );
  const members = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "exp",
    "iat",
    "jti",
    ...(scope === undefined ? [] : ["scope"]),
    ...(confirmation === undefined ? [] : ["cnf"]),
    ...(status === undefined ? [] : ["status"]),
    ...(act === undefined ? [] : ["act"]),
    ...Object.keys(extra),
  ];
  expect(hasMembers(claims, members), "§2.2", `claims must be ${members.join(", ")} alone`);
  for (const [name, value] of [
    ["iss", ordered.iss],
    ["sub", ordered.sub],
    ["aud", ordered.aud],
    ["client_id", ordered.clientId],
    ["jti", ordered.jti],
  ] as const) {
    expect(claims[name] === value && value !== "", "§2.2", `${name} must be as ordered, and not empty`);
  }
  expect(claims["exp"] === ordered.exp, "§2.2", "exp must be as ordered");
  expect(ordered.exp <= ordered.authorityNotAfter, "§2.2", "exp must not be after the authority's end");
  expect(claims["iat"] === ordered.iat && ordered.iat < ordered.exp, "§2.2", "iat must be before exp");
  expect(
    claims["scope"] === scope && (scope === undefined || SCOPE.test(scope)),
    "§2.2.3",
    "scope must be as ordered, names with single spaces between them",
  );
  const thumbprint =
    confirmation === undefined ||
    isThumbprint("jkt" in confirmation ? confirmation.jkt : confirmation.x5tS256);
  expect(thumbprint, "RFC 9449 §6.1", "cnf must hold the thumbprint of a key or certificate");
  const place = status === undefined || (Number.isSafeInteger(status.idx) && status.idx >= 0);
  expect(place, "Token Status List §6.2", "status must name a place in a list");
  const nested = {
    ...(confirmation === undefined ? {} : { cnf: confirmationClaim(confirmation) }),
    ...(status === undefined ? {} : { status: statusClaim(status) }),
    ...(act === undefined ? {} : { act }),
    ...extra,
  };
  expect(holdsExtraClaims(claims, nested), "§2.2", "claims must be as ordered");
}

// RFC 6749 §3.3.
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;
