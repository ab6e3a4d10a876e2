import type { KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { type SpiffeId, pathOf, tryParseSpiffeId } from "../../spiffe/id.ts";
import { type CompactJws, dateClaim, splitCompactJws, verifyCompactJws } from "./compact-jws.ts";
import type { JsonObject } from "./strict-json.ts";

/** A key that JWT-SVIDs of one trust domain may be signed with. */
export interface JwtVerificationKey {
  readonly publicKey: KeyObject;
}

/** What a validator of JWT-SVIDs knows besides the token. */
export interface JwtSvidExpectations {
  /** The validator's own audience; must be among the token's, compared exactly (JWT-SVID §3.2). */
  readonly audience: string;
  /** Unix seconds. */
  readonly now: number;
  /** How far clocks may differ, in seconds, 0 unless given. */
  readonly leewaySeconds?: number;
}

/** What a JWT-SVID says. */
export interface JwtSvidFacts {
  readonly spiffeId: SpiffeId;
  readonly audience: readonly string[];
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Unix seconds, if the token says so. */
  readonly issuedAt?: number;
  readonly keyId: string;
  /** Every claim, as it was signed. */
  readonly claims: JsonObject;
}

/**
 * Validates a JWT-SVID (JWT-SVID §4) with the keys of the trust domain that its subject names, by key ID. In this
 * order: size, form, `alg`, the other headers, signature, then claims; nothing is looked up before `alg` is allowed.
 * @throws AssayError `INVALID_JWT_SVID`; the detail never holds any part of the token but names of members.
 */
export async function verifyJwtSvid(
  token: string,
  keys: ReadonlyMap<string, JwtVerificationKey>,
  expected: JwtSvidExpectations,
): Promise<JwtSvidFacts> {
  const jws = split(token);
  const key = keys.get(jws.keyId)?.publicKey;
  if (key === undefined) return fail("no JWT authority of the trust domain has this kid");
  await verifyCompactJws(jws, key, CODE);
  const facts = readClaims(jws);
  const leeway = expected.leewaySeconds ?? 0;
  const { nbf, iat } = facts.claims;
  // What must hold is asked for, so that a leeway that is no number lets nothing in.
  if (!(expected.now < facts.expiresAt + leeway)) fail("token has expired");
  if (typeof nbf === "number" && !(nbf <= expected.now + leeway)) fail("token is not valid yet");
  if (typeof iat === "number" && !(iat <= expected.now + leeway)) fail("token was issued in the future");
  if (!facts.audience.includes(expected.audience)) fail("token is meant for another audience");
  return facts;
}

/**
 * Reads a JWT-SVID without verifying its signature, expiry or audience: for a client that has just received it from
 * its own Workload API, and to learn which trust domain's keys to verify with. Never a reason to trust anybody.
 * @throws AssayError `INVALID_JWT_SVID`.
 */
export function parseJwtSvidInsecure(token: string): JwtSvidFacts {
  return readClaims(split(token));
}

type SplitJwtSvid = CompactJws & { readonly keyId: string };

function split(token: string): SplitJwtSvid {
  const jws = splitCompactJws(token, { code: CODE, types: ["JWT", "JOSE"], typeOptional: true });
  const { kid } = jws.header;
  return typeof kid === "string" && kid !== "" ? { ...jws, keyId: kid } : fail("kid is missing");
}

function readClaims({ payload: claims, keyId }: SplitJwtSvid): JwtSvidFacts {
  const { sub, aud } = claims;
  const spiffeId = typeof sub === "string" ? tryParseSpiffeId(sub) : fail("sub is missing");
  if (spiffeId === undefined || pathOf(spiffeId) === "") return fail("sub must be a SPIFFE ID with a path");
  const audience = typeof aud === "string" ? [aud] : aud;
  if (!isAudience(audience)) return fail("aud is missing or not one or more texts");
  const expiresAt = dateClaim(claims, "exp", CODE) ?? fail("exp is missing");
  const issuedAt = dateClaim(claims, "iat", CODE);
  dateClaim(claims, "nbf", CODE);
  return { spiffeId, audience, expiresAt, keyId, claims, ...(issuedAt === undefined ? {} : { issuedAt }) };
}

function isAudience(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" && one !== "")
  );
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_JWT_SVID";
