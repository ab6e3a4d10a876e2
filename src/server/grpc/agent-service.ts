import { AssayError } from "../../errors/assay-error.ts";
import { type AgentIssuanceOptions, renewAgent } from "../../issuance/agents.ts";
import { Agent, type ListAgentsRequest_Filter } from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import { isAgentId } from "../../spiffe/reserved.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { NodeFilter, NodeRegistry } from "../../registry/nodes.ts";
import { agentOf, type ServerCall } from "../call.ts";
import { type ServerLimits, takeFrom } from "../limits.ts";
import type { Operations } from "../operations/operations.ts";
import { agentToWire } from "../wire/agent.ts";
import { selectorMatchFromWire } from "../wire/match.ts";
import { spiffeIdFromWire, spiffeIdText, type WireSpiffeId } from "../../wire/spiffe-id.ts";
import { x509SvidToWire } from "../wire/svid.ts";
import { attestAgentStream } from "./attest-agent.ts";
import { operatorCall } from "./operator-call.ts";

/** What `spire.api.server.agent.v1.Agent` is served with. */
export interface AgentServiceOptions {
  readonly trustDomain: TrustDomain;
  readonly issuance: AgentIssuanceOptions;
  readonly operations: Operations;
  readonly limits: ServerLimits;
  readonly nodes: Pick<NodeRegistry, "get" | "list" | "count" | "reported">;
}

/** Handlers of `spire.api.server.agent.v1.Agent`. */
export function agentService(options: AgentServiceOptions): ServiceHandlers<typeof Agent, ServerCall> {
  const { nodes, operations, limits, issuance, trustDomain } = options;

  function agentIdFromWire(wire: WireSpiffeId | undefined): SpiffeId {
    const id = spiffeIdFromWire(wire, "id");
    if (!isAgentId(id, trustDomain)) {
      throw new AssayError(
        "INVALID_SPIFFE_ID",
        `id: invalid agent ID: ${id} is not in the agent namespace of ${trustDomain}`,
      );
    }
    return id;
  }

  return {
    countAgents: ({ filter }) => ({ count: nodes.count(filterFromWire(filter)) }),

    listAgents({ filter, outputMask, pageSize, pageToken }) {
      const page = nodes.list(filterFromWire(filter), { pageSize, pageToken });
      return {
        agents: page.items.map((node) => agentToWire(node, outputMask)),
        nextPageToken: page.nextPageToken,
      };
    },

    getAgent({ id, outputMask }) {
      const node = nodes.get(agentIdFromWire(id));
      if (node === undefined) throw new AssayError("AGENT_NOT_FOUND", "agent not found");
      return agentToWire(node, outputMask);
    },

    async deleteAgent({ id }, context) {
      await operations.evictAgent(operatorCall(context), agentIdFromWire(id));
      return {};
    },

    async banAgent({ id }, context) {
      await operations.banAgent(operatorCall(context), agentIdFromWire(id));
      return {};
    },

    attestAgent(requests, { caller, signal }) {
      takeFrom(limits.attestation, { address: caller.who.address });
      return attestAgentStream(
        requests,
        issuance,
        caller.who,
        AbortSignal.any([signal, AbortSignal.timeout(ATTEST_MS)]),
      );
    },

    async renewAgent({ params }, { caller }) {
      const agent = agentOf(caller);
      takeFrom(limits.x509Signing, agent);
      if (params === undefined) throw new AssayError("INVALID_REQUEST", "params cannot be nil");
      if (params.csr.length === 0) throw new AssayError("INVALID_REQUEST", "missing CSR");
      return { svid: x509SvidToWire(await renewAgent(issuance, agent, params)) };
    },

    async createJoinToken({ ttl, token, agentId }, context) {
      if (ttl < 1) throw new AssayError("INVALID_REQUEST", "ttl is required, you must provide one");
      const made = await operations.createJoinToken(operatorCall(context), {
        ttl,
        ...(token === "" ? {} : { token }),
        ...(agentId === undefined ? {} : { aliasId: parseSpiffeId(spiffeIdText(agentId, "agent_id")) }),
      });
      return { value: made.token, expiresAt: BigInt(made.expiresAt) };
    },

    async postStatus({ agentVersion }, { caller }) {
      const { spiffeId } = agentOf(caller).svid;
      takeFrom(limits.status, caller.who);
      if (Buffer.byteLength(agentVersion) > MAX_VERSION) {
        throw new AssayError("INVALID_REQUEST", `agent version is too long (max ${MAX_VERSION} characters)`);
      }
      if (agentVersion !== "") await nodes.reported(spiffeId, agentVersion);
      return {};
    },
  };
}

type WireFilter = Omit<ListAgentsRequest_Filter, "$typeName" | "$unknown">;

function filterFromWire(filter: WireFilter | undefined): NodeFilter {
  if (filter === undefined) return {};
  const { byAttestationType, bySelectorMatch, byBanned, byCanReattest, byExpiresBefore } = filter;
  return {
    ...(byAttestationType === "" ? {} : { attestationType: byAttestationType }),
    ...(bySelectorMatch === undefined ? {} : { selectors: selectorMatchFromWire(bySelectorMatch) }),
    ...(byBanned === undefined ? {} : { banned: byBanned }),
    ...(byCanReattest === undefined ? {} : { canReattest: byCanReattest }),
    ...(byExpiresBefore === "" ? {} : { expiresBefore: timeFromWire(byExpiresBefore) }),
  };
}

/** SPIRE's commands write the time as `2006-01-02 15:04:05 -0700 -07`, ours as RFC 3339. */
function timeFromWire(text: string): number {
  const match = TIME.exec(text);
  const { date = "", time = "", hours = "+00", minutes = "00" } = match?.groups ?? {};
  const milliseconds = match === null ? Number.NaN : Date.parse(`${date}T${time}${hours}:${minutes}`);
  if (Number.isNaN(milliseconds)) {
    throw new AssayError(
      "INVALID_REQUEST",
      "by_expires_before: expected a time such as 2030-01-31T12:00:00Z",
    );
  }
  return Math.floor(milliseconds / 1000);
}

const TIME =
  /^(?<date>\d{4}-\d\d-\d\d)[ T](?<time>\d\d:\d\d:\d\d)(?:\.\d+)? ?(?:Z|(?<hours>[+-]\d\d):?(?<minutes>\d\d)(?: \S+)?)$/;
const ATTEST_MS = 60_000;
const MAX_VERSION = 255;
