/**
 * attestation/ — evidence in, selectors out: running the attestors and holding them to their contract.
 *
 * Must never know a key, an entry or an SVID: who gets what is decided elsewhere.
 * Called by issuance with the evidence of one caller, and by the programs' composition to load the plugins.
 */
import { AssayError } from "../errors/assay-error.ts";
import type { NodeAttestation, NodeAttestor } from "../plugin/node-attestor.ts";
import { agentId, isAgentId } from "../spiffe/reserved.ts";
import { pathOf, tryParseSpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { checkedSelectors } from "./checked-selectors.ts";
import { raceAbort } from "./race-abort.ts";

/** One agent's attempt to attest. */
export interface NodeAttestationRequest {
  readonly trustDomain: TrustDomain;
  /** The attestors of the configuration, by name. */
  readonly attestors: ReadonlyMap<string, NodeAttestor>;
  /** Attestation type, as the agent names it. */
  readonly type: string;
  /** First message of the agent. */
  readonly payload: Uint8Array;
  /** Address of the agent without port, empty where the transport has none. */
  readonly remoteAddress: string;
  /** Sends a challenge to the agent and gives its answer. */
  readonly challenge: (challenge: Uint8Array) => Promise<Uint8Array>;
  /** Ends the attempt: the caller went away or the deadline passed. An `AssayError` as reason is what is thrown. */
  readonly signal: AbortSignal;
}

/** Bounds of one node attestation. */
export const NODE_ATTESTATION_LIMITS = {
  /** Bytes of the payload and of each answer to a challenge. */
  messageBytes: 65_536,
  /** Challenges in one attestation. */
  challenges: 16,
} as const;

/**
 * Has one agent's evidence verified and checks what the attestor made of it: the agent's ID lies in the attestor's own
 * part of the trust domain, the selectors are the attestor's own, canonical and bounded.
 * @throws AssayError `ATTESTOR_UNKNOWN`; `ATTESTATION_FAILED` or `JOIN_TOKEN_INVALID` with a detail for the caller that
 * begins `failed to attest:`; `INTERNAL` where an attestor breaks its contract; else what the attestor or `signal`
 * threw as `AssayError`.
 */
export async function attestNode(request: NodeAttestationRequest): Promise<NodeAttestation> {
  const { attestors, type, payload, remoteAddress, signal } = request;
  const attestor = attestors.get(type);
  if (attestor === undefined) {
    throw new AssayError("ATTESTOR_UNKNOWN", `no node attestor of type ${quoted(type)} is configured`);
  }
  bounded(payload, "payload");
  let challenges = 0;
  const challenge = async (bytes: Uint8Array): Promise<Uint8Array> => {
    if (++challenges > NODE_ATTESTATION_LIMITS.challenges) throw failed("too many challenges were needed");
    const answer = await raceAbort(request.challenge(bytes), signal, "ATTESTATION_FAILED");
    bounded(answer, "answer to a challenge");
    return answer;
  };
  let attestation: NodeAttestation;
  try {
    signal.throwIfAborted();
    const outcome = attestor.attest({ payload, remoteAddress, challenge }, signal);
    attestation = await raceAbort(outcome, signal, "ATTESTATION_FAILED");
  } catch (error) {
    throw callerError(error);
  }
  return checked(attestation, type, request.trustDomain);
}

function checked(attestation: NodeAttestation, type: string, trustDomain: TrustDomain): NodeAttestation {
  const own = pathOf(agentId(trustDomain, type, "x")).slice(0, -1);
  // A third party's code may give anything, so nothing is taken at its type's word.
  const given = attestation as Partial<NodeAttestation> | undefined;
  const id = tryParseSpiffeId(String(given?.agentId ?? ""));
  if (id === undefined || !isAgentId(id, trustDomain) || !pathOf(id).startsWith(own)) {
    throw new AssayError("INTERNAL", `node attestor ${type} gave an ID that is not inside ${own}`);
  }
  return {
    agentId: id,
    selectors: checkedSelectors(attestation.selectors, type),
    canReattest: given?.canReattest === true,
  };
}

/** What leaves: what the attestor says on purpose, and nothing of what it says by accident. */
function callerError(error: unknown): AssayError {
  if (!(error instanceof AssayError)) return failed("the evidence could not be verified", error);
  if (error.code !== "ATTESTATION_FAILED" && error.code !== "JOIN_TOKEN_INVALID") return error;
  if (error.detail.startsWith(PREFIX)) return error;
  return new AssayError(error.code, PREFIX + error.detail, { cause: error });
}

function bounded(bytes: Uint8Array, what: string): void {
  const { messageBytes } = NODE_ATTESTATION_LIMITS;
  if (bytes.length > messageBytes) throw failed(`${what} is larger than ${messageBytes} bytes`);
}

function failed(detail: string, cause?: unknown): AssayError {
  return new AssayError("ATTESTATION_FAILED", PREFIX + detail, { cause });
}

/** A hostile name as it may stand in an error: short and printable. */
function quoted(type: string): string {
  return JSON.stringify(type.length > 64 ? `${type.slice(0, 64)}…` : type);
}

const PREFIX = "failed to attest: ";
