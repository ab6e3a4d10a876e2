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
    case "upstream-failed": {
      const what = UPSTREAM_TASKS[event.what];
      log.error(`the upstream authority ${what}, will be tried again`, { [FIELD.error]: event.error });
      return;
    }
    case "upstream-key-skipped":
      log.warn("a JWT authority upstream is left out of the bundle", { [FIELD.error]: event.error });
      return;
    case "upstream-recovered":
      log.info("the upstream authority works again", { [FIELD.detail]: event.what });
      return;
    case "upstream-root-added":
    case "upstream-root-removed":
    case "upstream-root-tainted":
    case "upstream-root-revoked": {
      const fields = { [FIELD.authorityId]: event.subjectKeyId, [FIELD.expiresAt]: event.notAfter };
      const became = event.event.slice("upstream-root-".length);
      if (became === "added" || became === "removed") log.info(`root upstream ${became}`, fields);
      else log.warn(`root upstream ${became}`, fields);
      return;
    }
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

const UPSTREAM_TASKS = {
  mint: "signed no authority of ours",
  publish: "published no JWT authority of ours",
  watch: "told what cannot be trusted",
} as const;
