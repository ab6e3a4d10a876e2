import type { KeyObject } from "node:crypto";
import { compactVerify } from "jose";
import { AssayError } from "../../errors/assay-error.ts";
import { type SpiffeId, pathOf, tryParseSpiffeId } from "../../spiffe/id.ts";
import { type JsonObject, parseJsonObject } from "./strict-json.ts";

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
  const { header } = split(token);
  const key = keys.get(header.keyId)?.publicKey;
  if (key === undefined) return fail("no JWT authority of the trust domain has this kid");
  if (!fits(header.algorithm, key)) fail("alg does not fit the key named by kid");
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(token, key, { algorithms: [header.algorithm.name] }));
  } catch {
    return fail("signature does not verify");
  }
  const facts = readClaims(payload, header.keyId);
  const leeway = expected.leewaySeconds ?? 0;
  const { nbf, iat } = facts.claims;
  if (expected.now >= facts.expiresAt + leeway) fail("token has expired");
  if (typeof nbf === "number" && nbf > expected.now + leeway) fail("token is not valid yet");
  if (typeof iat === "number" && iat > expected.now + leeway) fail("token was issued in the future");
  if (!facts.audience.includes(expected.audience)) fail("token is meant for another audience");
  return facts;
}

/**
 * Reads a JWT-SVID without verifying its signature, expiry or audience: for a client that has just received it from
 * its own Workload API, and to learn which trust domain's keys to verify with. Never a reason to trust anybody.
 * @throws AssayError `INVALID_JWT_SVID`.
 */
export function parseJwtSvidInsecure(token: string): JwtSvidFacts {
  const { header, payload } = split(token);
  return readClaims(payload, header.keyId);
}

interface Algorithm {
  readonly name: string;
  readonly kind: "ec" | "rsa";
  readonly curve?: string;
}

interface Split {
  readonly header: { readonly algorithm: Algorithm; readonly keyId: string };
  readonly payload: Uint8Array;
}

function split(token: string): Split {
  if (token.length > MAX_TOKEN_CHARACTERS) fail(`token must be at most ${MAX_TOKEN_CHARACTERS} characters`);
  const [protectedHeader, payload, signature, ...more] = token.split(".");
  if (protectedHeader === undefined || payload === undefined || signature === undefined || more.length > 0) {
    return fail("token must be a JWS in compact serialisation, three parts with two dots");
  }
  const header = readHeader(decode(protectedHeader, "header"));
  if (decode(signature, "signature").length === 0) fail("signature is empty");
  return { header, payload: decode(payload, "payload") };
}

function readHeader(bytes: Uint8Array): Split["header"] {
  const header = parseJsonObject(bytes);
  if (typeof header === "string") return fail(`header ${header}`);
  const algorithm = ALGORITHMS.get(header["alg"]);
  if (algorithm === undefined)
    return fail("alg must be one of RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512");
  const { typ, kid } = header;
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE") fail("typ must be JWT or JOSE");
  if (header["crit"] !== undefined || header["b64"] !== undefined)
    fail("header must have neither crit nor b64");
  if (typeof kid !== "string" || kid === "") return fail("kid is missing");
  return { algorithm, keyId: kid };
}

function readClaims(payload: Uint8Array, keyId: string): JwtSvidFacts {
  const claims = parseJsonObject(payload);
  if (typeof claims === "string") return fail(`payload ${claims}`);
  const { sub, aud } = claims;
  const spiffeId = typeof sub === "string" ? tryParseSpiffeId(sub) : fail("sub is missing");
  if (spiffeId === undefined || pathOf(spiffeId) === "") return fail("sub must be a SPIFFE ID with a path");
  const audience = typeof aud === "string" ? [aud] : aud;
  if (!isAudience(audience)) return fail("aud is missing or not one or more texts");
  const expiresAt = date(claims, "exp") ?? fail("exp is missing");
  const issuedAt = date(claims, "iat");
  date(claims, "nbf");
  return { spiffeId, audience, expiresAt, keyId, claims, ...(issuedAt === undefined ? {} : { issuedAt }) };
}

function isAudience(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" && one !== "")
  );
}

function date(claims: JsonObject, name: "exp" | "iat" | "nbf"): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) return fail(`${name} must be whole seconds`);
  return value;
}

function decode(part: string, what: string): Uint8Array {
  const bytes = Buffer.from(part, "base64url");
  // Node's decoder skips what it does not know; only the one canonical spelling comes back the same.
  if (bytes.toString("base64url") !== part) fail(`${what} is not unpadded base64url`);
  return bytes;
}

function fits(algorithm: Algorithm, key: KeyObject): boolean {
  if (key.type !== "public" || key.asymmetricKeyType !== algorithm.kind) return false;
  return algorithm.curve === undefined || key.asymmetricKeyDetails?.namedCurve === algorithm.curve;
}

function fail(detail: string): never {
  throw new AssayError("INVALID_JWT_SVID", detail);
}

const MAX_TOKEN_CHARACTERS = 16_384;
const ALGORITHMS: ReadonlyMap<unknown, Algorithm> = new Map(
  (
    [
      { name: "RS256", kind: "rsa" },
      { name: "RS384", kind: "rsa" },
      { name: "RS512", kind: "rsa" },
      { name: "PS256", kind: "rsa" },
      { name: "PS384", kind: "rsa" },
      { name: "PS512", kind: "rsa" },
      { name: "ES256", kind: "ec", curve: "prime256v1" },
      { name: "ES384", kind: "ec", curve: "secp384r1" },
      { name: "ES512", kind: "ec", curve: "secp521r1" },
    ] satisfies Algorithm[]
  ).map((algorithm) => [algorithm.name, algorithm]),
);
