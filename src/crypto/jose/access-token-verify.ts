import { AssayError } from "../../errors/assay-error.ts";
import { ACCESS_TOKEN_TYPE, type ActClaim, type Confirmation, type StatusReference } from "./access-token.ts";
import { dateClaim, splitCompactJws, verifyCompactJws } from "./compact-jws.ts";
import type { JwtVerificationKey } from "./jwt-svid-verify.ts";
import type { JsonObject } from "./strict-json.ts";
import { isThumbprint } from "./thumbprint.ts";
import { hasMembers, isJsonObject } from "./token-input.ts";

/** What a verifier of access tokens knows besides the token. */
export interface AccessTokenExpectations {
  /** Compared exactly (RFC 9068 §4). */
  readonly issuer: string;
  /** Must be the token's; `undefined` for who may know tokens of every audience, as the issuer itself does. */
  readonly audience: string | undefined;
  /** Unix seconds. */
  readonly now: number;
  /** How far clocks may differ, in seconds, 0 unless given. */
  readonly leewaySeconds?: number;
}

/** What an access token says. */
export interface AccessTokenFacts {
  readonly subject: string;
  readonly clientId: string;
  readonly audience: string;
  readonly scope?: string;
  readonly jti: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
  readonly keyId: string;
  /** What the bearer must prove to hold; `undefined` for a bearer token. The caller checks it. */
  readonly confirmation: Confirmation | undefined;
  readonly status?: StatusReference;
  readonly act?: ActClaim;
  /** Every claim, as it was signed. */
  readonly claims: JsonObject;
}

/**
 * Validates an access token (RFC 9068 §4) of an issuer that writes them as Assay does: `typ: at+jwt` and nothing else, one
 * audience, every claim of §2.2, and no confirmation, status or actor that is not understood. In this order: size, form,
 * `alg`, `typ`, the other headers, signature, then claims. Whether it was revoked, and whether the bearer holds what
 * `confirmation` names, is not known here.
 * @throws AssayError `INVALID_ACCESS_TOKEN`; the detail never holds any part of the token but names of members.
 */
export async function verifyAccessToken(
  token: string,
  keys: ReadonlyMap<string, JwtVerificationKey>,
  expected: AccessTokenExpectations,
): Promise<AccessTokenFacts> {
  const jws = splitCompactJws(token, { code: CODE, types: [ACCESS_TOKEN_TYPE], typeOptional: false });
  const { kid } = jws.header;
  if (typeof kid !== "string" || kid === "") return fail("kid is missing");
  const key = keys.get(kid)?.publicKey;
  if (key === undefined) return fail("no JWT authority of the issuer has this kid");
  await verifyCompactJws(jws, key, CODE);
  const facts = readClaims(jws.payload, kid);
  if (facts.claims["iss"] !== expected.issuer) fail("token has another issuer");
  if (expected.audience !== undefined && facts.audience !== expected.audience) {
    fail("token is meant for another audience");
  }
  const { now, leewaySeconds = 0 } = expected;
  // What must hold is asked for, so that a leeway that is no number lets nothing in.
  if (!(now < facts.expiresAt + leewaySeconds)) fail("token has expired");
  if (!(facts.issuedAt <= now + leewaySeconds)) fail("token was issued in the future");
  const notBefore = dateClaim(facts.claims, "nbf", CODE);
  if (notBefore !== undefined && !(notBefore <= now + leewaySeconds)) fail("token is not valid yet");
  return facts;
}

function readClaims(claims: JsonObject, keyId: string): AccessTokenFacts {
  const { scope, cnf, status, act } = claims;
  if (scope !== undefined && typeof scope !== "string") return fail("scope must be a text");
  return {
    subject: text(claims, "sub"),
    clientId: text(claims, "client_id"),
    audience: text(claims, "aud"),
    jti: text(claims, "jti"),
    issuedAt: dateClaim(claims, "iat", CODE) ?? fail("iat is missing"),
    expiresAt: dateClaim(claims, "exp", CODE) ?? fail("exp is missing"),
    keyId,
    confirmation: cnf === undefined ? undefined : readConfirmation(cnf),
    claims,
    ...(scope === undefined ? {} : { scope }),
    ...(status === undefined ? {} : { status: readStatusClaim(status) ?? fail("status is not understood") }),
    ...(act === undefined ? {} : { act: readActClaim(act) ?? fail("act is not understood") }),
  };
}

/** The place that a `status` claim names (Token Status List §6.2); `undefined` for one that says anything else. */
export function readStatusClaim(status: unknown): StatusReference | undefined {
  if (!isJsonObject(status) || !hasMembers(status, ["status_list"])) return undefined;
  const reference = status["status_list"];
  if (!isJsonObject(reference)) return undefined;
  const { idx, uri } = reference;
  if (typeof idx !== "number" || !Number.isSafeInteger(idx) || idx < 0) return undefined;
  return typeof uri === "string" && uri !== "" ? { uri, idx } : undefined;
}

/** The chain of actors of an `act` claim (RFC 8693 §4.1), at most 8; `undefined` for what is none. Only `sub`, `iss` and `act` are read. */
export function readActClaim(claim: unknown): ActClaim | undefined {
  return actorOf(claim, MAX_ACTORS);
}

function actorOf(claim: unknown, left: number): ActClaim | undefined {
  if (!isJsonObject(claim) || left === 0) return undefined;
  const { sub, iss, act } = claim;
  if (typeof sub !== "string" || sub === "") return undefined;
  if (iss !== undefined && typeof iss !== "string") return undefined;
  const actor = { sub, ...(iss === undefined ? {} : { iss }) };
  if (act === undefined) return actor;
  const before = actorOf(act, left - 1);
  return before === undefined ? undefined : { ...actor, act: before };
}

// RFC 7800 §3.1: what is confirmed in a way that is not understood is not confirmed.
function readConfirmation(cnf: unknown): Confirmation {
  if (isJsonObject(cnf) && hasMembers(cnf, ["jkt"]) && isThumbprint(cnf["jkt"])) return { jkt: cnf["jkt"] };
  const certificate = isJsonObject(cnf) && hasMembers(cnf, ["x5t#S256"]) ? cnf["x5t#S256"] : undefined;
  return isThumbprint(certificate) ? { x5tS256: certificate } : fail("cnf is not understood");
}

function text(claims: JsonObject, name: string): string {
  const value = claims[name];
  return typeof value === "string" && value !== "" ? value : fail(`${name} is missing or not a text`);
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_ACCESS_TOKEN";
const MAX_ACTORS = 8;
