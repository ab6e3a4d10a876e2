import { randomUUID } from "node:crypto";
import { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";

/** The audit log of a task is its server's; here the job's author is told who was refused. */
export function taskRecorder(log: Log): WorkloadRecorder {
  return new WorkloadRecorder({
    append(records) {
      for (const { outcome, caller_pid: pid, caller_path: path, method, code } of records) {
        const fields = { [FIELD.pid]: pid, [FIELD.path]: path, [FIELD.method]: method };
        if (outcome === "issued") log.debug("a process was served", fields);
        else log.warn("a process was refused", { ...fields, [FIELD.code]: code });
      }
    },
    newId: randomUUID,
    onDecision: () => undefined,
  });
}
