import { networkOf } from "../../endpoint/address-limit.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";

/** Where records are written, before `append` returns. */
interface Audit {
  append(records: readonly AuditRecord[]): void;
}

/**
 * The audit log for those who let strangers ask: refusals are taken from the caller's allowance, and beyond it `append` fails
 * and writes nothing, so that nobody fills the log, and by its rotation empties it, with nothing in hand. Whatever is issued
 * is written in any case. Alarms have an allowance of their own for each task, so that no flood of anything else hides one.
 * @param denials Taken from by the SPIFFE ID that the caller proved, else by its network. Throws `RATE_LIMITED`.
 */
export function spareDenials(audit: Audit, denials: { take(key: string): void }): Audit {
  return {
    append(records) {
      for (const record of records) {
        const key = keyOf(record);
        if (key !== undefined) denials.take(key);
      }
      audit.append(records);
    },
  };
}

function keyOf({ event, caller_id: id, caller_address: address, task_id: task = "" }: AuditRecord) {
  const who = id ?? (address === undefined ? undefined : networkOf(address));
  if (who === undefined) return undefined;
  switch (event) {
    case "task.denied":
    case "token.denied":
      return who;
    case "task.alarm":
      return `${who} ${task}`;
    default:
      return undefined;
  }
}
