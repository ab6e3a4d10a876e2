import { createHash } from "node:crypto";
import { access } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { Backup } from "../proto/gen/assay/api/server/v1/backup_pb.ts";
import type { BackupManifest } from "../server/backup/backup-file.ts";
import type { BackupPart } from "../server/backup/create-backup.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";

/** Adds `assay backup`: the store of a running server, or of a folder that no server has, as one file. */
export function addBackupCommand(program: Command, io: CliIo): void {
  adminOptions(
    program
      .command("backup")
      .description("copy the server's store to a file, while the server works; private keys are not in it"),
  )
    .requiredOption("--to <file>", "the file to write; it must not be there yet", (path) => resolve(path))
    .option(
      "--data-dir <path>",
      "the data folder of a server that does not run, in place of the socket",
      (path) => resolve(path),
    )
    .action(async (flags: AdminOptions & { to: string; dataDir?: string }) => {
      await requireAbsent(flags.to);
      const { createOfflineBackup } = await import("../server/backup/create-backup.ts");
      const { dataDir, to } = flags;
      const manifest =
        dataDir === undefined
          ? await withAdminClient(io, flags.adminSocket, (client) =>
              write(to, received(client.service(Backup).createBackup({}))),
            )
          : await write(to, createOfflineBackup({ dataDir, clock: io.clock, version: io.version }));
      writeResult(io, flags.output, { file: to, ...manifest }, () =>
        [
          `${to}: ${manifest.database_bytes} bytes, ${manifest.trust_domain}, ${manifest.created_at}`,
          "It holds no private key: whoever restores it gets new authorities. Keep it as safe as the server itself.",
        ].join("\n"),
      );
    });
}

async function* received(
  messages: AsyncIterable<{
    readonly part:
      | { case: "manifest"; value: string }
      | { case: "data"; value: Uint8Array }
      | { case: undefined };
  }>,
): AsyncGenerator<BackupPart, void, undefined> {
  for await (const { part } of messages) {
    switch (part.case) {
      case "manifest":
        yield { manifest: part.value };
        break;
      case "data":
        yield { data: part.value };
        break;
      default:
        throw broken("it sent a part of an unknown kind");
    }
  }
}

/** Writes the whole file or none of it: one that is there has been compared with what its manifest says. */
async function write(
  to: string,
  parts: AsyncGenerator<BackupPart, void, undefined>,
): Promise<BackupManifest> {
  const { backupHeader, parseManifest } = await import("../server/backup/backup-file.ts");
  const first = await parts.next();
  if (first.done === true || !("manifest" in first.value)) throw broken("it sent no manifest");
  const { manifest: text } = first.value;
  const manifest = parseManifest(text);
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    yield backupHeader(text);
    const hash = createHash("sha256");
    for await (const part of parts) {
      if (!("data" in part)) throw broken("it sent a second manifest");
      hash.update(part.data);
      yield part.data;
    }
    if (hash.digest("hex") !== manifest.database_sha256) throw broken("its bytes are not those it announced");
  }
  await atomicWrite(to, bytes());
  return manifest;
}

async function requireAbsent(path: string): Promise<void> {
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) throw new AssayError("ALREADY_EXISTS", `${path} exists already: give the backup a new name`);
}

function broken(what: string): AssayError {
  return new AssayError("BACKUP_INVALID", `the server's answer is no backup: ${what}`);
}
