import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StoredAuditRecord } from "../observe/audit-record.ts";
import { Decision_Outcome, type DecisionSchema } from "../proto/gen/assay/api/types/v1/decision_pb.ts";
import { tryParseSpiffeId } from "../spiffe/id.ts";
import { parseSelector } from "../spiffe/selector.ts";
import { spiffeIdToWire } from "./spiffe-id.ts";

/**
 * A record of an audit log as the two Explain services show it. Of a denial the first reason is why, and the others are
 * what came near.
 * @param callerKind What a caller without an SVID was: `workload` at an agent, `local` at a server's admin socket.
 */
export function decisionToWire(
  record: StoredAuditRecord,
  callerKind: "workload" | "local",
): MessageInitShape<typeof DecisionSchema> {
  const spiffeId = tryParseSpiffeId(record.spiffe_id ?? "");
  const reasons = record.reasons ?? [];
  const isDenial = record.outcome === "denied";
  return {
    id: record.decision_id ?? "",
    time: BigInt(Date.parse(record.time)),
    event: record.event,
    outcome: OUTCOMES[record.outcome],
    code: record.code ?? "",
    detail: isDenial ? (reasons[0] ?? "") : reasons.join("; "),
    nearMisses: isDenial ? reasons.slice(1).map((reason) => ({ reason })) : [],
    caller: callerToWire(record, callerKind),
    selectors: (record.selectors ?? []).map((text) => ({ ...parseSelector(text) })),
    entryId: record.entry_id ?? "",
    ...(spiffeId === undefined ? {} : { spiffeId: spiffeIdToWire(spiffeId) }),
    authorityId: record.authority_id ?? "",
    serialNumber: record.serial ?? "",
    jti: record.jti ?? "",
    expiresAt: BigInt(record.expires_at ?? 0),
    audience: [...(record.audience ?? [])],
  };
}

function callerToWire(record: StoredAuditRecord, callerKind: string) {
  const { caller_pid: pid, caller_uid: uid = 0, caller_gid: gid = 0, caller_path: path = "" } = record;
  const callerId = tryParseSpiffeId(record.caller_id ?? "");
  return {
    kind: pid !== undefined ? callerKind : callerId === undefined ? "anonymous" : "svid",
    address: record.caller_address ?? "",
    ...(callerId === undefined ? {} : { spiffeId: spiffeIdToWire(callerId) }),
    ...(pid === undefined ? {} : { process: { pid, uid, gid, path } }),
  };
}

const OUTCOMES = {
  issued: Decision_Outcome.ISSUED,
  done: Decision_Outcome.ISSUED,
  denied: Decision_Outcome.DENIED,
  failed: Decision_Outcome.FAILED,
} as const;
