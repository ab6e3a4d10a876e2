import type { AuditRecord } from "../observe/audit-record.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { SigningEvent } from "../signing/open-signing.ts";

/**
 * Tells the operator what happens to authorities: by a log line, and where one was made or put to work without an
 * operator's order by a record. Orders make records of their own, which name who gave them.
 */
export function logSigningEvent(
  log: Log,
  audit: { append(records: readonly AuditRecord[]): void },
  event: SigningEvent,
): void {
  switch (event.event) {
    case "upkeep-failed":
      log.error("authorities cannot be kept up, will be tried again", { [FIELD.error]: event.error });
      return;
    case "bundle-unread":
      log.error("the own bundle cannot be read, will be tried again", { [FIELD.error]: event.error });
      return;
    case "continued":
    case "prepared":
    case "activated":
    case "retired":
    case "tainted":
    case "revoked": {
      const { kind, authorityId, notAfter, reason, byOrder } = event;
      const fields = { kind, [FIELD.authorityId]: authorityId, [FIELD.expiresAt]: notAfter };
      if (event.event === "retired") log.warn("authority retired", { ...fields, reason });
      else log.info(`authority ${event.event}`, fields);
      if (!byOrder && (event.event === "prepared" || event.event === "activated")) {
        audit.append([
          {
            event: `authority.${event.event}`,
            outcome: "done",
            authority_id: authorityId,
            expires_at: notAfter,
            reasons: [kind],
          },
        ]);
      }
    }
  }
}
