import { AssayError } from "../../errors/assay-error.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import type { EntryRegistry } from "../../registry/entries.ts";
import type { NodeRegistry } from "../../registry/nodes.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { type Clock, unixSeconds } from "../../clock.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { ServerCall } from "../call.ts";
import { agentToWire } from "../wire/agent.ts";
import { decisionToWire } from "../../wire/decision.ts";
import { entryToWire } from "../../wire/entry.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";

/** What `assay.api.server.v1.Explain` is served with. */
export interface ExplainServiceOptions {
  readonly clock: Clock;
  readonly findDecision: (id: string) => Promise<StoredAuditRecord | undefined>;
  readonly registry: {
    readonly nodes: Pick<NodeRegistry, "get">;
    readonly entries: Pick<EntryRegistry, "authorized" | "aliases" | "nearestAliases">;
  };
}

/** Handlers of `assay.api.server.v1.Explain`. */
export function explainService(options: ExplainServiceOptions): ServiceHandlers<typeof Explain, ServerCall> {
  const { registry } = options;
  return {
    async explainDecision({ decisionId }) {
      const record = decisionId === "" ? undefined : await options.findDecision(decisionId);
      if (record === undefined)
        throw new AssayError("DECISION_NOT_FOUND", `no decision ${JSON.stringify(decisionId)}`);
      return { decision: decisionToWire(record, "local") };
    },

    explainNode({ agentId }) {
      const id = spiffeIdFromWire(agentId, "agent_id");
      const node = registry.nodes.get(id);
      if (node === undefined) return { status: "unknown" };
      return {
        agent: agentToWire(node),
        status: node.banned ? "banned" : node.expiresAt <= unixSeconds(options.clock) ? "expired" : "active",
        authorizedEntries: registry.entries.authorized(id).map((entry) => entryToWire(entry)),
        aliases: registry.entries.aliases(id).map((entry) => entryToWire(entry)),
        nearMisses: registry.entries.nearestAliases(id, NEAREST).map(({ entry, missing }) => ({
          entry: entryToWire(entry),
          missing: missing.map(({ type, value }) => ({ type, value })),
          reason: `the node lacks ${missing.map(formatSelector).join(", ")}`,
        })),
      };
    },
  };
}

const NEAREST = 5;
