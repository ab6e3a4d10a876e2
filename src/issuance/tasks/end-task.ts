import type { AuditRecord } from "../../observe/audit-record.ts";
import type { TaskEndReason, TaskRecord } from "../../store/task-store.ts";
import type { EndOutcome, TaskEvent } from "../../tasks/tasks.ts";
import type { Caller } from "../caller.ts";
import { callerFacts } from "../decision.ts";
import { wholeTaskFacts } from "./task-audit.ts";
import type { TaskIssuanceOptions } from "./task-options.ts";

/**
 * Ends a task for a caller: whatever was issued to it is revoked in the store before the promise resolves. Ending what has
 * ended is no error, and makes no second record.
 * @param facts What else the audit record says, such as the operator's route.
 * @throws AssayError `TASK_NOT_FOUND`, `STORE_UNAVAILABLE`; `AUDIT_UNAVAILABLE`, and the task is over all the same.
 */
export async function endTask(
  options: Pick<TaskIssuanceOptions, "tasks" | "audit">,
  caller: Caller,
  id: string,
  reason: Exclude<TaskEndReason, "lease" | "cap">,
  facts: Partial<AuditRecord> = {},
): Promise<EndOutcome> {
  const outcome = await options.tasks.end(id, reason);
  if (outcome.first) {
    const revoked = `revoked ${outcome.revoked.length} of what was issued`;
    const record = endRecord(outcome.task, [...(facts.reasons ?? []), revoked]);
    options.audit.append([{ ...callerFacts(caller), ...facts, ...record }]);
  }
  return outcome;
}

/** The audit record of an end that nobody called for. */
export function endedByItself({ kind, task }: TaskEvent): AuditRecord {
  return endRecord(task, kind === "found" ? ["found ending: whoever ended it may not have told of it"] : []);
}

function endRecord(task: TaskRecord, reasons: readonly string[]): AuditRecord {
  return {
    event: "task.ended",
    outcome: "done",
    ...wholeTaskFacts(task),
    ...(task.endReason !== "" && { reason: task.endReason }),
    ...(reasons.length > 0 && { reasons }),
  };
}
