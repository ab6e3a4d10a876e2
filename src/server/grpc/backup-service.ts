import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { Backup, CreateBackupResponseSchema } from "../../proto/gen/assay/api/server/v1/backup_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { type BackupSource, createBackup } from "../backup/create-backup.ts";
import type { ServerCall } from "../call.ts";
import { changeRecord } from "../operations/operator-call.ts";
import { operatorCall } from "./operator-call.ts";

/** What `assay.api.server.v1.Backup` is served with. */
export interface BackupServiceOptions {
  readonly source: BackupSource;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/** Handlers of `assay.api.server.v1.Backup`: one backup at a time, each audited before its first byte leaves. */
export function backupService({
  source,
  audit,
}: BackupServiceOptions): ServiceHandlers<typeof Backup, ServerCall> {
  let underWay: symbol | undefined;
  return {
    async *createBackup(
      _request,
      context,
    ): AsyncGenerator<MessageInitShape<typeof CreateBackupResponseSchema>, void, undefined> {
      if (underWay !== undefined) throw new AssayError("PRECONDITION_FAILED", "another backup is under way");
      const own = Symbol("backup");
      underWay = own;
      const parts = createBackup(source);
      let wait: Disposable | undefined;
      let isGivenUp = false;
      const end = async () => {
        wait?.[Symbol.dispose]();
        if (underWay === own) underWay = undefined;
        await parts.return();
      };
      // Whoever stops taking must not keep others from theirs, nor the copy's space on the disk.
      const giveUp = () => {
        isGivenUp = true;
        // A copy that cannot be closed is no reason for the server to end.
        end().catch(() => undefined);
      };
      try {
        for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
          const part = next.value;
          if ("manifest" in part) audit.append([changeRecord("store.copied", operatorCall(context), {})]);
          wait = source.clock.schedule(STALLED_MS, giveUp);
          if ("manifest" in part) yield { part: { case: "manifest", value: part.manifest } };
          else yield { part: { case: "data", value: part.data } };
          wait[Symbol.dispose]();
          if (isGivenUp) throw new AssayError("PRECONDITION_FAILED", STALLED);
        }
      } finally {
        await end();
      }
    },
  };
}

const STALLED_MS = 60_000;
const STALLED = "nobody took a part of the backup for a minute, so it was given up";
