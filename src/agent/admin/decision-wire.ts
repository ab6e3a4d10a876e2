import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AuditOutcome, StoredAuditRecord } from "../../observe/audit-record.ts";
import { Decision_Outcome, type DecisionSchema } from "../../proto/gen/assay/api/types/v1/decision_pb.ts";
import { tryParseSpiffeId } from "../../spiffe/id.ts";
import { parseSelector } from "../../spiffe/selector.ts";
import { idToWire } from "../link/wire.ts";

/** A record of the agent's audit log as the admin API shows it. */
export function decisionToWire(record: StoredAuditRecord): MessageInitShape<typeof DecisionSchema> {
  const spiffeId = record.spiffe_id === undefined ? undefined : tryParseSpiffeId(record.spiffe_id);
  const [detail = "", ...nearMisses] = record.reasons ?? [];
  return {
    id: record.decision_id ?? "",
    time: BigInt(Date.parse(record.time)),
    event: record.event,
    outcome: OUTCOMES[record.outcome],
    code: record.code ?? "",
    detail,
    caller: {
      kind: "workload",
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
    selectors: (record.selectors ?? []).map((text) => {
      const { type, value } = parseSelector(text);
      return { type, value };
    }),
    entryId: record.entry_id ?? "",
    ...(spiffeId === undefined ? {} : { spiffeId: idToWire(spiffeId) }),
    authorityId: record.authority_id ?? "",
    serialNumber: record.serial === undefined ? "" : BigInt(`0x${record.serial}`).toString(),
    jti: record.jti ?? "",
    expiresAt: BigInt(record.expires_at ?? 0),
    audience: [...(record.audience ?? [])],
    nearMisses: nearMisses.map((reason) => ({ reason })),
  };
}

const OUTCOMES: Readonly<Record<AuditOutcome, (typeof Decision_Outcome)[keyof typeof Decision_Outcome]>> = {
  issued: Decision_Outcome.ISSUED,
  denied: Decision_Outcome.DENIED,
  failed: Decision_Outcome.FAILED,
  done: Decision_Outcome.ISSUED,
};
