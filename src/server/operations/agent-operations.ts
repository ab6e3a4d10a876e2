import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { NodeRecord } from "../../store/records.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** A join token to make. */
export interface JoinTokenOrder {
  /** Lifetime in seconds, at least 1. */
  readonly ttl: number;
  /** The token itself where the operator chose it; a fresh random one where absent. */
  readonly token?: string;
  /** The SPIFFE ID that the node is to have besides its own. */
  readonly aliasId?: SpiffeId;
}

/** A join token as it was made. Its value is shown once and is nowhere else. */
export interface CreatedJoinToken {
  /** A secret. */
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Which agents to purge. */
export interface PurgeOrder {
  /** Unix seconds: agents whose SVID expired before that. */
  readonly expiredBefore: number;
  /** Also those whose attestation works only once, which can come back only with fresh evidence. */
  readonly includeNotReattestable?: boolean;
}

/** The registry, as far as nodes and their tokens are changed through it. */
export interface OperatedNodes {
  /** Deletes nodes; tells for each whether it was there. */
  evict(ids: readonly SpiffeId[]): Promise<readonly boolean[]>;
  /** Bans a node; gives it as it is then, or `undefined` where there is none. */
  ban(id: SpiffeId): Promise<NodeRecord | undefined>;
  /** Deletes expired nodes, never banned ones; gives their IDs. */
  purge(order: PurgeOrder): Promise<readonly SpiffeId[]>;
  /** Makes a join token. @throws AssayError `INVALID_REQUEST`, `INVALID_SPIFFE_ID`, `ALREADY_EXISTS`. */
  createJoinToken(order: JoinTokenOrder): Promise<CreatedJoinToken>;
}

/** Changes of agents and join tokens. */
export interface AgentOperations {
  /** Forgets an agent; it may attest again. @throws AssayError `AGENT_NOT_FOUND`. */
  evictAgent(call: OperatorCall, id: SpiffeId): Promise<void>;
  /** Bans an agent: its SVID counts no longer and it may not attest again. @throws AssayError `AGENT_NOT_FOUND`. */
  banAgent(call: OperatorCall, id: SpiffeId): Promise<NodeRecord>;
  /** Forgets agents whose SVID has expired; gives their IDs. */
  purgeAgents(call: OperatorCall, order: PurgeOrder): Promise<readonly SpiffeId[]>;
  /** Makes a join token. @throws AssayError `INVALID_REQUEST`, `INVALID_SPIFFE_ID`, `ALREADY_EXISTS`. */
  createJoinToken(call: OperatorCall, order: JoinTokenOrder): Promise<CreatedJoinToken>;
}

/** Makes the operations on agents and join tokens. */
export function agentOperations(options: {
  readonly nodes: OperatedNodes;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): AgentOperations {
  const { nodes, audit } = options;
  return {
    async evictAgent(call, id) {
      const [found] = await nodes.evict([id]);
      if (found !== true) throw absent(id);
      audit.append([changeRecord("node.evicted", call, { agent_id: id })]);
    },
    async banAgent(call, id) {
      const node = await nodes.ban(id);
      if (node === undefined) throw absent(id);
      audit.append([changeRecord("node.banned", call, { agent_id: id, attestor: node.attestationType })]);
      return node;
    },
    async purgeAgents(call, order) {
      const ids = await nodes.purge(order);
      if (ids.length > 0) {
        audit.append(ids.map((id) => changeRecord("node.purged", call, { agent_id: id })));
      }
      return ids;
    },
    async createJoinToken(call, order) {
      const created = await nodes.createJoinToken(order);
      audit.append([
        changeRecord("token.created", call, {
          expires_at: created.expiresAt,
          ...(order.aliasId !== undefined && { spiffe_id: order.aliasId }),
        }),
      ]);
      return created;
    },
  };
}

function absent(id: SpiffeId): AssayError {
  return new AssayError("AGENT_NOT_FOUND", `agent ${id} is not attested here`);
}
