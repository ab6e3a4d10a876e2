import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import type { JwsAlgorithm } from "../crypto/jose/compact-jws.ts";
import { parseJsonObject } from "../crypto/jose/strict-json.ts";
import { parseWitSvidInsecure } from "../crypto/jose/wit-svid-verify.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { WITSVID, WITSVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { parseSpiffeId, type SpiffeId } from "../spiffe/id.ts";
import { withoutRepeatedHints } from "./hints.ts";

/** A WIT-SVID of this workload, with its private key. */
export interface WorkloadWitSvid {
  readonly spiffeId: SpiffeId;
  /** What the operator says this identity is for; may be empty (Workload API §8). */
  readonly hint: string;
  /** JWS compact serialisation. Worth nothing without a proof by the key, and never sent without one (WIT-SVID §5). */
  readonly token: string;
  /** The key of `cnf.jwk`. It prints nothing of itself. */
  readonly privateKey: KeyObject;
  /** What proofs are signed by: `cnf.jwk.alg`. */
  readonly algorithm: JwsAlgorithm;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/**
 * Reads a message of FetchWITSVID: every mandatory field (Workload API §4.5), tokens of the profile whose subject is the
 * ID beside them, not expired, and private keys that belong to `cnf.jwk`. Of SVIDs with the same hint the first counts.
 * @param now Unix seconds.
 * @throws AssayError naming the field: `INVALID_REQUEST`, `INVALID_SPIFFE_ID`, `INVALID_WIT_SVID`.
 */
export function readWitSvids(response: WITSVIDResponse, now: number): readonly WorkloadWitSvid[] {
  if (response.svids.length === 0) throw new AssayError("INVALID_REQUEST", "svids must not be empty");
  return withoutRepeatedHints(response.svids.map((svid, at) => readSvid(svid, at, now)));
}

function readSvid(message: WITSVID, at: number, now: number): WorkloadWitSvid {
  const spiffeId = parseSpiffeId(message.spiffeId);
  const facts = parseWitSvidInsecure(message.witSvid);
  if (facts.spiffeId !== spiffeId) fail(at, `wit_svid is not that of ${spiffeId}`);
  if (now >= facts.expiresAt) fail(at, "wit_svid has expired");
  const privateKey = readKey(message.witSvidKey, at);
  if (!createPublicKey(privateKey).equals(facts.confirmationKey)) {
    fail(at, "wit_svid_key is not the key of cnf.jwk");
  }
  return {
    spiffeId,
    hint: message.hint,
    token: message.witSvid,
    privateKey,
    algorithm: facts.confirmationAlgorithm,
    expiresAt: facts.expiresAt,
  };
}

function readKey(text: string, at: number): KeyObject {
  const jwk = parseJsonObject(Buffer.from(text, "utf8"));
  if (typeof jwk === "string") return fail(at, `wit_svid_key ${jwk}`);
  try {
    return createPrivateKey({ key: { ...jwk }, format: "jwk" });
  } catch {
    // What the library says could quote the key.
    return fail(at, "wit_svid_key must be a private key as JWK");
  }
}

function fail(at: number, detail: string): never {
  throw new AssayError("INVALID_WIT_SVID", `svids[${at}].${detail}`);
}
