import { networkOf } from "../../endpoint/address-limit.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";

/** Where records are written, before `append` returns. */
interface Audit {
  append(records: readonly AuditRecord[]): void;
}

/**
 * The audit log for those who let strangers ask: refusals are taken from the caller's allowance, and beyond it `append` fails
 * and writes nothing, so that nobody fills the log, and by its rotation empties it, with nothing in hand. Whatever is issued
 * is written in any case, and so is every alarm.
 * @param denials Taken from by the SPIFFE ID that the caller proved, else by its network. Throws `RATE_LIMITED`.
 */
export function spareDenials(audit: Audit, denials: { take(key: string): void }): Audit {
  return {
    append(records) {
      for (const { event, outcome, caller_id: id, caller_address: address } of records) {
        if (outcome === "issued" || !SPARED.has(event)) continue;
        if (id !== undefined || address !== undefined) denials.take(id ?? networkOf(address ?? ""));
      }
      audit.append(records);
    },
  };
}

const SPARED: ReadonlySet<AuditRecord["event"]> = new Set(["task.denied", "token.denied"]);
