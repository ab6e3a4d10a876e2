import type { AuditRecord } from "../../observe/audit-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { RestoreRecord } from "../../store/records.ts";
import type { BackupStore } from "../../store/store.ts";

/** What telling of a restore needs. */
export interface TellRestoredParts {
  readonly restored: RestoreRecord;
  readonly backups: Pick<BackupStore, "settle">;
  readonly log: Log;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/**
 * Says, once, that the server works with a store that was restored, in the log and the audit log: whatever was decided between
 * the two times is not in it. @throws AssayError `AUDIT_UNAVAILABLE`, `STORE_UNAVAILABLE`.
 */
export async function tellRestored({ restored, backups, log, audit }: TellRestoredParts): Promise<void> {
  if (restored.told) return;
  const [backupAt, at] = [isoTime(restored.backupAt), isoTime(restored.at)];
  audit.append([
    {
      event: "store.restored",
      outcome: "done",
      reasons: [`backup of ${backupAt}`, `restored at ${at}`],
    },
  ]);
  log.warn(
    "the store was restored from a backup: what was changed since it was made is lost, bans, deletions and revocations too",
    { backup_at: backupAt, restored_at: at, [FIELD.count]: restored.authorities.length },
  );
  await backups.settle({ told: true });
}

function isoTime(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
}
