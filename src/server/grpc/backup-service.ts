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
  let isUnderWay = false;
  return {
    async *createBackup(
      _request,
      context,
    ): AsyncGenerator<MessageInitShape<typeof CreateBackupResponseSchema>, void, undefined> {
      if (isUnderWay) throw new AssayError("PRECONDITION_FAILED", "another backup is under way");
      isUnderWay = true;
      try {
        for await (const part of createBackup(source)) {
          if ("manifest" in part) {
            audit.append([changeRecord("store.copied", operatorCall(context), {})]);
            yield { part: { case: "manifest", value: part.manifest } };
          } else yield { part: { case: "data", value: part.data } };
        }
      } finally {
        isUnderWay = false;
      }
    },
  };
}
