import type { Composing } from "./composing.ts";
import { type Clock, unixSeconds } from "../clock.ts";
import { attestNode, type NodeAttestationRequest } from "../attestation/attest-node.ts";
import { readCertificationRequest } from "../crypto/pkcs10.ts";
import { AssayError } from "../errors/assay-error.ts";
import { decideAgentSvid } from "../policy/x509-svid.ts";
import type { PolicyOptions } from "../policy/policy-options.ts";
import type { IssuedX509Svid, Signing } from "../signing/signing.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector } from "../spiffe/selector.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { NodeRecord } from "../store/records.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import { decision, type DecisionOptions, outcomeOf, recorded } from "./decision.ts";
import { allowedTtl, issuedFacts } from "./x509-svids.ts";

/** What the issuance of agents' SVIDs stands on. */
export interface AgentIssuanceOptions extends DecisionOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly policy: PolicyOptions;
  readonly signing: Signing;
  /** Absent where no credential composer is configured. */
  readonly composing?: Composing | undefined;
  readonly attestors: NodeAttestationRequest["attestors"];
  readonly nodes: AgentNodes;
}

/** Attested nodes, as far as issuing to their agents needs them. */
export interface AgentNodes {
  node(id: SpiffeId): NodeRecord | undefined;
  /** Writes a node as it stands after an attestation. @throws AssayError `AGENT_BANNED`. */
  attested(node: Omit<NodeRecord, "ordinal" | "banned">): Promise<unknown>;
  /** Writes the serial of a renewal; the active one stays until the new one is used. */
  renewed(id: SpiffeId, serial: string, expiresAt: number): Promise<unknown>;
  /** Takes a node away again whose agent never got its SVID, with what its join token's alias made. */
  forget(id: SpiffeId): Promise<void>;
}

/** What an agent gets after attestation. */
export interface AttestedAgent {
  readonly svid: IssuedX509Svid;
  /** Whether the same evidence may be shown again. */
  readonly canReattest: boolean;
}

/**
 * Attests a node and issues its agent's first SVID: evidence, ban, policy, signature, node record, audit record, in
 * this order, so that nothing leaves that is not written down.
 *
 * The signing request is read before the evidence is looked at: a request that could not be answered must not use up
 * a join token.
 * @throws AssayError what the evidence, the request or the ban deserves, `AUDIT_UNAVAILABLE` and signing's.
 */
export async function attestAgent(
  options: AgentIssuanceOptions,
  caller: Caller,
  request: Omit<NodeAttestationRequest, "attestors" | "trustDomain"> & { readonly csr: Uint8Array },
): Promise<AttestedAgent> {
  const { nodes, clock } = options;
  const facts = { attestor: request.type };
  let madeNode: SpiffeId | undefined;
  const decided = await decision(options, ATTEST_EVENTS, caller, facts, async (draft) => {
    const csr = readCertificationRequest(request.csr);
    const attestation = await attestNode({
      ...request,
      trustDomain: options.trustDomain,
      attestors: options.attestors,
    });
    const { agentId, canReattest, selectors } = attestation;
    draft.note({ spiffe_id: agentId, agent_id: agentId, selectors: selectors.map(formatSelector) });
    const known = nodes.node(agentId);
    if (known?.banned === true) throw new AssayError("AGENT_BANNED", "failed to attest: agent is banned");
    if (known !== undefined && !canReattest) {
      throw new AssayError(
        "ATTESTATION_FAILED",
        "failed to attest: this node has attested before, evict it first",
      );
    }
    const svid = await signAgentSvid(options, agentId, csr);
    draft.note(issuedFacts(svid));
    await nodes.attested({
      id: agentId,
      attestationType: request.type,
      selectors,
      canReattest,
      serial: svid.serial,
      expiresAt: svid.notAfter,
      pendingSerial: "",
      pendingExpiresAt: 0,
      attestedAt: unixSeconds(clock),
      agentVersion: known?.agentVersion ?? "",
    });
    if (known === undefined) madeNode = agentId;
    return { svid, canReattest };
  });
  try {
    return outcomeOf(recorded(options, [decided])[0] ?? decided);
  } catch (error) {
    // Without its record the SVID stays here, and a node that nobody can speak for must not stay either.
    if (madeNode !== undefined) await nodes.forget(madeNode).catch(() => undefined);
    throw error;
  }
}

/**
 * Issues an agent's next SVID. The old one stays good until the new one is used, so that a lost answer locks nobody
 * out.
 * @throws AssayError `INVALID_CSR`, `AGENT_MUST_REATTEST` for a node whose evidence can be shown again,
 * `AUDIT_UNAVAILABLE` and signing's.
 */
export async function renewAgent(
  options: AgentIssuanceOptions,
  caller: AgentCaller,
  request: { readonly csr: Uint8Array },
): Promise<IssuedX509Svid> {
  const agentId = caller.svid.spiffeId;
  const facts = { spiffe_id: agentId, agent_id: agentId };
  const decided = await decision(options, RENEW_EVENTS, caller, facts, async (draft) => {
    if (options.nodes.node(agentId)?.canReattest === true) {
      throw new AssayError("AGENT_MUST_REATTEST", "agent must reattest instead of renew");
    }
    const csr = readCertificationRequest(request.csr);
    const svid = await signAgentSvid(options, agentId, csr);
    draft.note(issuedFacts(svid));
    await options.nodes.renewed(agentId, svid.serial, svid.notAfter);
    return svid;
  });
  return outcomeOf(recorded(options, [decided])[0] ?? decided);
}

async function signAgentSvid(
  options: AgentIssuanceOptions,
  agentId: SpiffeId,
  csr: { readonly keyType: Parameters<typeof decideAgentSvid>[0]["keyType"]; readonly spki: Uint8Array },
): Promise<IssuedX509Svid> {
  const { signing, policy, clock, composing } = options;
  const publicKey = csr.spki;
  // An agent has no DNS names, whatever a composer would like: nobody looks for one by a name.
  const composed = await composing?.x509Svid([], { purpose: "agent", spiffeId: agentId, publicKey });
  const subject = composed === undefined ? {} : { subject: composed.subject };
  const ttl = allowedTtl(
    decideAgentSvid(
      { now: unixSeconds(clock), authorityNotAfter: signing.x509AuthorityNotAfter(), keyType: csr.keyType },
      policy,
    ),
  );
  return signing.signX509Svid(
    signing.prepareX509Svid({ spiffeId: agentId, publicKey, dnsNames: [], ttl, ...subject }),
  );
}

const ATTEST_EVENTS = { issued: "node.attested", refused: "node.denied" } as const;
const RENEW_EVENTS = { issued: "node.renewed", refused: "node.denied" } as const;
