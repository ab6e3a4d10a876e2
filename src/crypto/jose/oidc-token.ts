import { hash } from "node:crypto";
import { compactVerify } from "jose";
import { AssayError } from "../../errors/assay-error.ts";
import { type CompactJws, fitsAlgorithm, splitCompactJws } from "./compact-jws.ts";
import type { OidcKey } from "./oidc-token-keys.ts";
import type { JsonObject } from "./strict-json.ts";

/** The algorithms that ID tokens may be signed by. */
export const OIDC_TOKEN_ALGORITHMS = ["RS256", "PS256", "ES256", "ES384"] as const;

/** One of them. */
export type OidcTokenAlgorithm = (typeof OIDC_TOKEN_ALGORITHMS)[number];

/** Bounds of ID tokens. */
export const OIDC_TOKEN_LIMITS = {
  /** Characters of the whole token. */
  characters: 20_000,
  /** How far clocks may differ, seconds. */
  leeway: 30,
} as const;

/** Whom a token must be from and for. */
export interface OidcParties {
  /** Compared exactly, octet by octet. */
  readonly issuer: string;
  /** Must be the token's only audience; compared exactly. */
  readonly audience: string;
}

/** What a verifier of ID tokens expects. */
export interface OidcTokenExpectations extends OidcParties {
  readonly algorithms: readonly OidcTokenAlgorithm[];
  /** Unix seconds. */
  readonly now: number;
  /** How old a token may be by its `iat`, seconds, whatever its `exp` says. */
  readonly maxAge: number;
  /** How long a token may be good for, `iat` to `exp`, seconds. */
  readonly maxLifetime: number;
  /** The issuer's keys of this `kid`; asked for only when everything else about the token is right. */
  readonly keysFor: (keyId: string) => Promise<readonly OidcKey[]>;
}

/** What the registered claims of a token say. */
export interface OidcTokenDates {
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Unix seconds, where the token has it. */
  readonly notBefore?: number;
  /** `jti`, where the token has it. */
  readonly tokenId?: string;
}

/** What a verified token says. */
export interface OidcTokenFacts extends OidcTokenDates {
  /** Every claim, as it was signed. */
  readonly claims: JsonObject;
  /** Names this token among all tokens of all issuers, 64 hex digits; the same for every way of writing its signature. */
  readonly replayKey: string;
}

/**
 * Verifies an OpenID Connect ID token (OpenID Connect Core §3.1.3.7) of one issuer. In this order: size, form, `alg`,
 * `typ` (`JWT` or none), the other headers, issuer, audience, dates, and last the signature, so that nobody makes us
 * look for keys by a token that would be refused anyway. No key, nor where to find one, is taken from the token.
 * @throws AssayError `ATTESTATION_FAILED`; the detail never holds any part of the token but names of members. Or what
 * `keysFor` throws.
 */
export async function verifyOidcToken(
  token: string,
  expected: OidcTokenExpectations,
): Promise<OidcTokenFacts> {
  const jws = split(token);
  if (!expected.algorithms.some((name) => name === jws.algorithm.name)) {
    fail(`alg must be ${expected.algorithms.join(" or ")}`);
  }
  const { kid } = jws.header;
  if (typeof kid !== "string" || kid === "") return fail("kid is missing");
  const dates = judgeOidcParties(jws.payload, expected);
  judgeDates(dates, expected);
  await verifySignature(jws, await expected.keysFor(kid));
  return { ...dates, claims: jws.payload, replayKey: replayKeyOf(jws, expected.issuer, dates.tokenId) };
}

/**
 * Checks whom claims are from and for, and reads their dates without comparing them with any clock.
 * @throws AssayError `ATTESTATION_FAILED` naming the claim.
 */
export function judgeOidcParties(claims: JsonObject, expected: OidcParties): OidcTokenDates {
  if (claims["iss"] !== expected.issuer) fail("iss is not the configured issuer");
  const { aud, jti } = claims;
  const audiences: unknown = typeof aud === "string" ? [aud] : aud;
  if (!Array.isArray(audiences) || audiences.length !== 1) return fail("aud must be exactly one audience");
  if (audiences[0] !== expected.audience) fail("aud is not the configured audience");
  if (jti !== undefined && (typeof jti !== "string" || jti === "")) return fail("jti must be a text");
  const issuedAt = dateOf(claims, "iat") ?? fail("iat is missing");
  const expiresAt = dateOf(claims, "exp") ?? fail("exp is missing");
  if (!(issuedAt < expiresAt)) fail("exp must be later than iat");
  const notBefore = dateOf(claims, "nbf");
  return {
    issuedAt,
    expiresAt,
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(jti === undefined ? {} : { tokenId: jti }),
  };
}

/** The `iss` that a token claims, or `undefined` where it is none that could be verified. Proves nothing. */
export function claimedIssuer(token: string): string | undefined {
  try {
    const { iss } = split(token).payload;
    return typeof iss === "string" ? iss : undefined;
  } catch {
    return undefined;
  }
}

// Many attestors are asked about one token in a row, and who sends it need not have proved anything yet. What is kept is not
// the token: without its signature it is worth nothing.
function split(token: string): CompactJws {
  const digest = hash("sha256", token, "base64url");
  if (lastSplit.digest !== digest) lastSplit = { digest, ...outcomeOf(token) };
  if (lastSplit.parts === undefined) throw lastSplit.fault;
  return { ...lastSplit.parts, text: token };
}

function outcomeOf(token: string): Pick<Split, "parts" | "fault"> {
  try {
    const { text: _, ...parts } = splitAnew(token);
    return { parts };
  } catch (fault) {
    return { fault };
  }
}

function splitAnew(token: string): CompactJws {
  const jws = splitCompactJws(token, {
    code: CODE,
    types: ["JWT"],
    typeOptional: true,
    maxCharacters: OIDC_TOKEN_LIMITS.characters,
  });
  const carried = FOREIGN_KEYS.find((name) => jws.header[name] !== undefined);
  if (carried !== undefined) fail(`header must not have ${carried}: keys are the issuer's, not the token's`);
  return jws;
}

// What must hold is asked for, so that a bound that is no number lets nothing in. A `nbf` long before `iat` is common
// and harmless.
function judgeDates(dates: OidcTokenDates, { now, maxAge, maxLifetime }: OidcTokenExpectations): void {
  const { leeway } = OIDC_TOKEN_LIMITS;
  const { issuedAt, expiresAt, notBefore } = dates;
  if (!(now < expiresAt + leeway)) fail("token has expired");
  if (!(issuedAt <= now + leeway)) fail("token was issued in the future");
  if (notBefore !== undefined && !(notBefore <= now + leeway)) fail("token is not valid yet");
  if (!(now - issuedAt <= maxAge + leeway)) fail(`token is older than ${maxAge} s`);
  if (!(expiresAt - issuedAt <= maxLifetime)) fail(`token is good for longer than ${maxLifetime} s`);
}

async function verifySignature({ algorithm, text }: CompactJws, keys: readonly OidcKey[]): Promise<void> {
  const fitting = keys.filter(
    (key) =>
      fitsAlgorithm(algorithm, key.publicKey) &&
      (key.algorithm === undefined || key.algorithm === algorithm.name),
  );
  if (fitting.length === 0) fail("alg does not fit the key that should have signed");
  for (const { publicKey } of fitting) {
    const good = await compactVerify(text, publicKey, { algorithms: [algorithm.name] }).then(
      () => true,
      () => false,
    );
    if (good) return;
  }
  fail("signature does not verify");
}

// An ECDSA signature can be written in two ways, so it must be no part of what names the token.
function replayKeyOf({ text }: CompactJws, issuer: string, tokenId: string | undefined): string {
  const named =
    tokenId === undefined ? ["input", text.slice(0, text.lastIndexOf("."))] : ["jti", issuer, tokenId];
  return hash("sha256", JSON.stringify(named), "hex");
}

/** A NumericDate in whole seconds; a fraction, which RFC 7519 §2 allows, is cut. */
function dateOf(claims: JsonObject, name: string): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !(value >= 0 && value <= MAX_DATE)) {
    return fail(`${name} must be seconds since 1970`);
  }
  return Math.floor(value);
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

interface Split {
  readonly digest: string;
  readonly parts?: Omit<CompactJws, "text">;
  readonly fault?: unknown;
}

let lastSplit: Split = { digest: "" };

const CODE = "ATTESTATION_FAILED";
const FOREIGN_KEYS = ["jwk", "jku", "x5u", "x5c"];
// The year 9999.
const MAX_DATE = 253_402_300_799;
