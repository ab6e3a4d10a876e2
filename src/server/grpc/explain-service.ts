import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import { Decision_Outcome, type DecisionSchema } from "../../proto/gen/assay/api/types/v1/decision_pb.ts";
import type { EntryRegistry } from "../../registry/entries.ts";
import type { NodeRegistry } from "../../registry/nodes.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { type Clock, unixSeconds } from "../../clock.ts";
import { tryParseSpiffeId } from "../../spiffe/id.ts";
import { formatSelector, parseSelector } from "../../spiffe/selector.ts";
import type { ServerCall } from "../call.ts";
import { agentToWire } from "../wire/agent.ts";
import { entryToWire } from "../wire/entry.ts";
import { spiffeIdFromWire, spiffeIdToWire } from "../wire/spiffe-id.ts";

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
      return { decision: decisionToWire(record) };
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

function decisionToWire(record: StoredAuditRecord): MessageInitShape<typeof DecisionSchema> {
  const callerId = tryParseSpiffeId(record.caller_id ?? "");
  const spiffeId = tryParseSpiffeId(record.spiffe_id ?? "");
  return {
    id: record.decision_id ?? "",
    time: BigInt(Date.parse(record.time)),
    event: record.event,
    outcome: OUTCOMES[record.outcome],
    code: record.code ?? "",
    detail: (record.reasons ?? []).join("; "),
    caller: {
      kind: record.caller_pid === undefined ? (callerId === undefined ? "anonymous" : "svid") : "local",
      address: record.caller_address ?? "",
      ...(callerId === undefined ? {} : { spiffeId: spiffeIdToWire(callerId) }),
      ...(record.caller_pid === undefined
        ? {}
        : {
            process: {
              pid: record.caller_pid,
              uid: record.caller_uid ?? 0,
              gid: record.caller_gid ?? 0,
              path: record.caller_path ?? "",
            },
          }),
    },
    selectors: (record.selectors ?? []).map((text) => ({ ...parseSelector(text) })),
    entryId: record.entry_id ?? "",
    ...(spiffeId === undefined ? {} : { spiffeId: spiffeIdToWire(spiffeId) }),
    authorityId: record.authority_id ?? "",
    serialNumber: record.serial === undefined ? "" : BigInt(`0x${record.serial}`).toString(),
    jti: record.jti ?? "",
    expiresAt: BigInt(record.expires_at ?? 0),
    audience: [...(record.audience ?? [])],
  };
}

const OUTCOMES = {
  issued: Decision_Outcome.ISSUED,
  done: Decision_Outcome.ISSUED,
  denied: Decision_Outcome.DENIED,
  failed: Decision_Outcome.FAILED,
} as const;

const NEAREST = 5;
