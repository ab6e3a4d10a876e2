import { type Clock, systemClock, unixSeconds } from "../clock.ts";
import { parseWitSvidInsecure, verifyWitSvid, type WitSvidFacts } from "../crypto/jose/wit-svid-verify.ts";
import { verifyWorkloadProof } from "../crypto/jose/workload-proof.ts";
import { AssayError } from "../errors/assay-error.ts";
import { type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import type { WitBundleSource } from "./bundles.ts";

/** The header field that holds the WIT-SVID (draft-ietf-wimse-workload-creds). */
export const WIT_HEADER = "workload-identity-token";

/** The header field that holds the proof of possession (draft-ietf-wimse-wpt). */
export const PROOF_HEADER = "workload-proof-token";

/** Header fields of a request as Node gives them, names in lower case. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** How a request that presents a WIT-SVID is judged. */
export interface WitValidation {
  /**
   * The URLs by which this server knows the request, without query and fragment, `https://api.example.org/orders`; the
   * proof must name one of them exactly. From the server's own configuration, not from the request's `Host` alone.
   */
  readonly audiences: readonly string[];
  /** How far clocks may differ, in seconds, 0 to 120; 0 unless given. */
  readonly leewaySeconds?: number;
  /** How far in the future a proof may end, in seconds, 300 unless given (WIT-SVID §7.2). */
  readonly maxProofSeconds?: number;
  /** How long a WIT-SVID may live at most, in seconds; any time unless given (WIT-SVID §3.5). */
  readonly maxLifetimeSeconds?: number;
  /**
   * Refuses a proof that it has seen, by returning `false`: `expiresAt` (Unix seconds) is how long it must remember it.
   * Proofs may be presented again unless given (WIT-SVID §7.2).
   */
  readonly firstUse?: (proofId: string, expiresAt: number) => boolean | Promise<boolean>;
  /** The machine's clock unless given. */
  readonly clock?: Clock;
}

/** A caller that has proved its WIT-SVID. */
export interface ValidWitSvid {
  readonly spiffeId: SpiffeId;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Every claim of the WIT-SVID, as it was signed. */
  readonly claims: WitSvidFacts["claims"];
}

/**
 * Validates the WIT-SVID of a request together with its proof of possession (WIT-SVID §4, §5). There is no way to
 * validate one without the other, and a WIT-SVID in any other field, `Authorization` above all, is not looked at.
 * The request must have come over TLS (§7.3).
 * @throws AssayError `INVALID_WIT_SVID` or `INVALID_PROOF`; the detail never quotes a token.
 */
export async function validateWitRequest(
  headers: RequestHeaders,
  source: WitBundleSource,
  validation: WitValidation,
): Promise<ValidWitSvid> {
  const { audiences, leewaySeconds = 0, maxLifetimeSeconds, clock = systemClock } = validation;
  const text = only(headers, WIT_HEADER, "INVALID_WIT_SVID");
  const proof = only(headers, PROOF_HEADER, "INVALID_PROOF");
  const now = unixSeconds(clock);
  const trustDomain = trustDomainOf(parseWitSvidInsecure(text).spiffeId);
  const bundle = source.witBundles().get(trustDomain);
  if (bundle?.profile !== "wit" || bundle.trustDomain !== trustDomain) {
    throw new AssayError("INVALID_WIT_SVID", `there is no WIT bundle of the trust domain ${trustDomain}`);
  }
  const facts = await verifyWitSvid(text, bundle.keys, {
    now,
    leewaySeconds,
    ...(maxLifetimeSeconds === undefined ? {} : { maxLifetimeSeconds }),
  });
  const maxProof = validation.maxProofSeconds ?? MAX_PROOF_SECONDS;
  const { id, expiresAt } = await verifyWorkloadProof(
    proof,
    { text, facts },
    { audiences, now, leewaySeconds, maxLifetimeSeconds: maxProof },
  );
  if (validation.firstUse !== undefined && !(await validation.firstUse(id, expiresAt + leewaySeconds))) {
    throw new AssayError("INVALID_PROOF", "proof has been presented before");
  }
  return { spiffeId: facts.spiffeId, expiresAt: facts.expiresAt, claims: facts.claims };
}

/** The one value of a field: two would let two readers see two different requests. */
function only(headers: RequestHeaders, name: string, code: "INVALID_WIT_SVID" | "INVALID_PROOF"): string {
  const value = headers[name];
  // Node joins repeated fields by commas, which no token holds.
  if (typeof value !== "string" || value === "" || value.includes(",")) {
    throw new AssayError(code, `header ${name} must be there once`);
  }
  return value;
}

const MAX_PROOF_SECONDS = 300;
