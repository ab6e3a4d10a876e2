import type { SyncUpdate } from "../cache/sync-update.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { EvidenceSession } from "../../plugin/agent-node-attestor.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { JwtSvid } from "../../spiffe/svid.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/**
 * What the agent asks of a server, in the agent's own words. Every call throws an `RpcError` where the server or the way
 * to it failed, and `AGENT_…` codes where the server says what is wrong with the agent.
 */
export interface ServerApi {
  /** Shows evidence and gets the agent's X509-SVID for the key of the CSR (DER). */
  attest(type: string, evidence: EvidenceSession, csr: Uint8Array, signal: AbortSignal): Promise<Attested>;
  /** A new X509-SVID in place of the one the agent calls with; the chain in DER, leaf first. */
  renew(csr: Uint8Array, signal: AbortSignal): Promise<readonly Uint8Array[]>;
  /** Tells the server what the agent runs and which bundle it has. */
  postStatus(status: { version: string; bundleSequence: bigint }, signal: AbortSignal): Promise<void>;
  /** Everything the agent may hand out, then each change. Throws `UNIMPLEMENTED` where the server only answers questions. */
  watch(signal: AbortSignal): AsyncIterable<SyncUpdate>;
  /** Every entry the agent may hand out; those in `known` may come back as they were if their revision is the same. */
  authorizedEntries(
    known: ReadonlyMap<string, WorkloadEntry>,
    signal: AbortSignal,
  ): Promise<readonly WorkloadEntry[]>;
  /** The own trust domain's bundle. */
  bundle(signal: AbortSignal): Promise<SpiffeBundle>;
  /** A foreign bundle, or `undefined` where the server has none. */
  federatedBundle(trustDomain: TrustDomain, signal: AbortSignal): Promise<SpiffeBundle | undefined>;
  /** Signs X509-SVIDs, at most 500 at once; outcomes in the order of the requests. */
  signX509(requests: readonly X509Request[], signal: AbortSignal): Promise<readonly X509Outcome[]>;
  /** Signs WIT-SVIDs, at most 100 at once; outcomes in the order of the requests. Throws `UNIMPLEMENTED` where the server has none. */
  signWit(requests: readonly WitRequest[], signal: AbortSignal): Promise<readonly WitOutcome[]>;
  /** Signs a JWT-SVID for an entry. */
  signJwt(entryId: string, audience: readonly Audience[], signal: AbortSignal): Promise<JwtSvid>;
}

/** What an attestation gave. */
export interface Attested {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** Whether the same evidence will be taken again. */
  readonly reattestable: boolean;
}

/** One X509-SVID to sign. */
export interface X509Request {
  readonly entryId: string;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
}

/** What became of one X509-SVID: its chain in DER, leaf first, or why there is none. */
export type X509Outcome =
  | { readonly chain: readonly Uint8Array[] }
  | { readonly error: { readonly code: number; readonly message: string } };

/** One WIT-SVID to sign. */
export interface WitRequest {
  readonly entryId: string;
  /** SubjectPublicKeyInfo, DER: the key that it is bound to. */
  readonly publicKey: Uint8Array;
  /** The JWS algorithm by which its holder signs with that key. */
  readonly algorithm: string;
  /** That we hold the key. */
  readonly proof: string;
}

/** What became of one WIT-SVID: the token, or why there is none. */
export type WitOutcome =
  | { readonly token: string }
  | { readonly error: { readonly code: number; readonly message: string } };
