import { createPublicKey, type KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { type SpiffeId, pathOf, tryParseSpiffeId } from "../../spiffe/id.ts";
import {
  type CompactJws,
  dateClaim,
  fitsAlgorithm,
  JWS_ALGORITHMS,
  type JwsAlgorithm,
  splitCompactJws,
  verifyCompactJws,
} from "./compact-jws.ts";
import { jwkToSpki } from "./jwk.ts";
import type { JsonObject } from "./strict-json.ts";

/** A key that WIT-SVIDs of one trust domain may be signed with. */
export interface WitVerificationKey {
  readonly publicKey: KeyObject;
}

/** What a validator of WIT-SVIDs knows besides the token. */
export interface WitSvidExpectations {
  /** Unix seconds. */
  readonly now: number;
  /** How far clocks may differ, in seconds, 0 to 120, 0 unless given (WIT-SVID §3.4). */
  readonly leewaySeconds?: number;
  /** Longest time from `nbf` (or `iat`) to `exp` that is accepted, in seconds; unbounded unless given (§3.5). */
  readonly maxLifetimeSeconds?: number;
}

/** What a WIT-SVID says. It proves nothing before its holder has proved to have the confirmation key (§4). */
export interface WitSvidFacts {
  readonly spiffeId: SpiffeId;
  readonly keyId: string;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** The key of `cnf.jwk`, which proofs of possession verify with. */
  readonly confirmationKey: KeyObject;
  /** `cnf.jwk.alg`, the one algorithm of proofs. */
  readonly confirmationAlgorithm: JwsAlgorithm;
  /** Every claim, as it was signed. */
  readonly claims: JsonObject;
}

/**
 * Validates a WIT-SVID (WIT-SVID §2, §3) with the keys of the trust domain that its subject names, by key ID. Unknown
 * headers are ignored unless `crit` names them, `iat` says nothing about validity, `jti` nothing about replay, and a
 * token with `aud` is refused (§3.8). Not enough to believe anybody: see {@link verifyWorkloadProof}.
 * @throws AssayError `INVALID_WIT_SVID`; the detail never holds any part of the token but names of members.
 */
export async function verifyWitSvid(
  token: string,
  keys: ReadonlyMap<string, WitVerificationKey>,
  expected: WitSvidExpectations,
): Promise<WitSvidFacts> {
  const jws = split(token);
  const key = keys.get(jws.keyId)?.publicKey;
  if (key === undefined) return fail("no WIT authority of the trust domain has this kid");
  await verifyCompactJws(jws, key, CODE);
  const facts = readClaims(jws);
  const leeway = Math.min(expected.leewaySeconds ?? 0, MAX_LEEWAY_SECONDS);
  const { expiresAt, claims } = facts;
  // What must hold is asked for, so that a bound that is no number lets nothing in.
  if (!(expected.now < expiresAt + leeway)) fail("token has expired");
  const nbf = dateClaim(claims, "nbf", CODE);
  if (nbf !== undefined && !(nbf <= expected.now + leeway)) fail("token is not valid yet");
  const { maxLifetimeSeconds } = expected;
  const from = nbf ?? dateClaim(claims, "iat", CODE) ?? expected.now;
  if (maxLifetimeSeconds !== undefined && !(expiresAt - from <= maxLifetimeSeconds)) {
    fail(`token lives longer than ${maxLifetimeSeconds} seconds`);
  }
  return facts;
}

/**
 * Reads a WIT-SVID without verifying its signature or expiry: for a client that has just received it from its own
 * Workload API, and to learn which trust domain's keys to verify with. Never a reason to trust anybody.
 * @throws AssayError `INVALID_WIT_SVID`.
 */
export function parseWitSvidInsecure(token: string): WitSvidFacts {
  return readClaims(split(token));
}

type SplitWitSvid = CompactJws & { readonly keyId: string };

function split(token: string): SplitWitSvid {
  const jws = splitCompactJws(token, { code: CODE, types: [WIT_TYPE], typeOptional: false });
  const { kid } = jws.header;
  return typeof kid === "string" && kid !== "" ? { ...jws, keyId: kid } : fail("kid is missing");
}

function readClaims({ payload: claims, keyId }: SplitWitSvid): WitSvidFacts {
  const { sub, cnf, jti } = claims;
  const spiffeId = typeof sub === "string" ? tryParseSpiffeId(sub) : fail("sub is missing");
  if (spiffeId === undefined || pathOf(spiffeId) === "") return fail("sub must be a SPIFFE ID with a path");
  if (claims["aud"] !== undefined) fail("aud must be absent");
  if (jti !== undefined && typeof jti !== "string") fail("jti must be a text");
  const expiresAt = dateClaim(claims, "exp", CODE) ?? fail("exp is missing");
  dateClaim(claims, "nbf", CODE);
  dateClaim(claims, "iat", CODE);
  return { spiffeId, keyId, expiresAt, claims, ...confirmationOf(cnf) };
}

function confirmationOf(cnf: unknown): Pick<WitSvidFacts, "confirmationKey" | "confirmationAlgorithm"> {
  if (typeof cnf !== "object" || cnf === null) return fail("cnf is missing");
  const { jwk } = cnf as { readonly jwk?: unknown };
  if (typeof jwk !== "object" || jwk === null) return fail("cnf.jwk is missing");
  const confirmationAlgorithm = JWS_ALGORITHMS.get((jwk as { readonly alg?: unknown }).alg);
  if (confirmationAlgorithm === undefined) return fail("cnf.jwk.alg must be one of the nine algorithms");
  let confirmationKey: KeyObject;
  try {
    confirmationKey = createPublicKey({ key: Buffer.from(jwkToSpki(jwk)), format: "der", type: "spki" });
  } catch (error) {
    return fail(`cnf.jwk: ${error instanceof AssayError ? error.detail : "no key"}`);
  }
  if (!fitsAlgorithm(confirmationAlgorithm, confirmationKey)) fail("cnf.jwk.alg does not fit cnf.jwk");
  return { confirmationKey, confirmationAlgorithm };
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_WIT_SVID";
const WIT_TYPE = "wit+jwt";
const MAX_LEEWAY_SECONDS = 120;
