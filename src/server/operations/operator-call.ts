import { callerFacts } from "../../issuance/decision.ts";
import type { Caller } from "../../issuance/caller.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";

/** Who asks for a change and by which call, for the audit record. */
export interface OperatorCall {
  readonly caller: Caller;
  /** `service/Method` for gRPC, `POST /v1/entries` (the route's pattern) for HTTP. */
  readonly method: string;
  readonly requestId?: string;
}

/** The record of a change that was made. `facts` never hold a secret. */
export function changeRecord(
  event: AuditEvent,
  call: OperatorCall,
  facts: Partial<Omit<AuditRecord, "event" | "outcome">>,
): AuditRecord {
  return {
    event,
    outcome: "done",
    method: call.method,
    ...(call.requestId !== undefined && { request_id: call.requestId }),
    ...callerFacts(call.caller),
    ...facts,
  };
}
