import { hash, type KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import {
  dateClaim,
  fitsAlgorithm,
  type JwsAlgorithm,
  signJws,
  splitCompactJws,
  verifyCompactJws,
} from "./compact-jws.ts";
import type { WitSvidFacts } from "./wit-svid-verify.ts";

/** What a proof of possession says (draft-ietf-wimse-wpt). Times are whole Unix seconds. */
export interface WorkloadProofClaims {
  /** Who the request is for. */
  readonly audience: string;
  readonly expiresAt: number;
  /** Identifier of this one proof. */
  readonly id: string;
}

/** The private key of a WIT-SVID with the algorithm that its `cnf.jwk.alg` names. */
export interface ProofKey {
  readonly privateKey: KeyObject;
  readonly algorithm: JwsAlgorithm;
}

/** What a verifier of proofs knows besides them. */
export interface WorkloadProofExpectations {
  /** The verifier's own names; the proof's audience must be one of them, compared exactly. */
  readonly audiences: readonly string[];
  /** Unix seconds. */
  readonly now: number;
  /** How far clocks may differ, in seconds, 0 unless given. */
  readonly leewaySeconds?: number;
  /** How far in the future a proof may end, in seconds (WIT-SVID §7.2). */
  readonly maxLifetimeSeconds: number;
}

/**
 * A Workload Proof Token: a JWT of the type `wpt+jwt` signed with the confirmation key of a WIT-SVID, with exactly
 * `aud`, `exp`, `jti` and `wth`, the hash of that WIT-SVID.
 * @throws AssayError `KEY_UNAVAILABLE` where the key does not fit the algorithm.
 */
export function signWorkloadProof(witSvid: string, key: ProofKey, claims: WorkloadProofClaims): string {
  const { privateKey, algorithm } = key;
  if (privateKey.type !== "private" || !fitsAlgorithm(algorithm, privateKey)) {
    throw new AssayError("KEY_UNAVAILABLE", `key of the WIT-SVID does not fit ${algorithm.name}`);
  }
  const header = base64url(JSON.stringify({ alg: algorithm.name, typ: PROOF_TYPE }));
  const { audience: aud, expiresAt: exp, id: jti } = claims;
  const payload = base64url(JSON.stringify({ aud, exp, jti, wth: hashOf(witSvid) }));
  const input = Buffer.from(`${header}.${payload}`, "latin1");
  const signature = Buffer.from(signJws(algorithm, input, privateKey));
  return `${header}.${payload}.${signature.toString("base64url")}`;
}

/**
 * Verifies that whoever sent the WIT-SVID has its private key and meant the request for us, just now: the proof's type,
 * the very algorithm of `cnf.jwk`, signature, `wth`, `aud`, `exp` and its bound, `jti`.
 * @throws AssayError `INVALID_PROOF`; the detail never holds any part of a token but names of members.
 */
export async function verifyWorkloadProof(
  proof: string,
  witSvid: { readonly text: string; readonly facts: WitSvidFacts },
  expected: WorkloadProofExpectations,
): Promise<WorkloadProofClaims> {
  const jws = splitCompactJws(proof, { code: CODE, types: [PROOF_TYPE], typeOptional: false });
  const { confirmationAlgorithm, confirmationKey } = witSvid.facts;
  if (jws.algorithm.name !== confirmationAlgorithm.name) fail("alg must be that of cnf.jwk");
  await verifyCompactJws(jws, confirmationKey, CODE);
  const { aud, jti, wth } = jws.payload;
  if (wth !== hashOf(witSvid.text)) fail("wth must be the hash of the WIT-SVID");
  if (typeof aud !== "string" || !expected.audiences.includes(aud))
    return fail("proof is meant for another audience");
  if (typeof jti !== "string" || jti === "") return fail("jti is missing");
  const expiresAt = dateClaim(jws.payload, "exp", CODE) ?? fail("exp is missing");
  const leeway = expected.leewaySeconds ?? 0;
  // What must hold is asked for, so that a bound that is no number lets nothing in.
  if (!(expected.now < expiresAt + leeway)) fail("proof has expired");
  if (!(expiresAt <= expected.now + expected.maxLifetimeSeconds + leeway)) {
    fail(`proof must end within ${expected.maxLifetimeSeconds} seconds`);
  }
  return { audience: aud, expiresAt, id: jti };
}

function hashOf(witSvid: string): string {
  return hash("sha256", witSvid, "base64url");
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_PROOF";
const PROOF_TYPE = "wpt+jwt";
