import type { AuditRecord } from "../../observe/audit-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";

/** Tells the log of every attempt on somebody else's task, for whoever reads no audit log. */
export function logAlarms(log: Log, records: readonly AuditRecord[]): void {
  for (const { event, attestor, task_id: task, decision_id: decision, code } of records) {
    if (event !== "task.alarm") continue;
    log.warn("somebody tried to use the evidence of another's task", {
      ...(attestor !== undefined && { [FIELD.attestor]: attestor }),
      ...(task !== undefined && { task_id: task }),
      ...(code !== undefined && { [FIELD.code]: code }),
      ...(decision !== undefined && { [FIELD.decisionId]: decision }),
    });
  }
}
