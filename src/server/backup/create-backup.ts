import { createHash, randomUUID } from "node:crypto";
import { open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import type { StoreFacts } from "../../store/records.ts";
import { copySqliteStore } from "../../store/sqlite/backup-copy.ts";
import { takeStoreLock } from "../../store/sqlite/lock.ts";
import { STORE_FILE } from "../../store/sqlite/open.ts";
import { ownServerId } from "../own-server-id.ts";
import { type BackupManifest, piecesOf } from "./backup-file.ts";

/** What a backup is made of. */
export interface BackupSource {
  /** Copies the store to a new file. @throws AssayError `STORE_UNAVAILABLE`. */
  readonly copyTo: (path: string) => Promise<StoreFacts>;
  /** The server's own folder, where the copy stands until it has left. */
  readonly dataDir: string;
  readonly clock: Clock;
  /** The program's. */
  readonly version: string;
  /** Unix milliseconds after which nobody wrote to the store; now unless given. */
  readonly writtenAt?: number;
}

/** A part of a backup: its manifest first, then the bytes of the database in order. */
export type BackupPart = { readonly manifest: string } | { readonly data: Uint8Array };

/**
 * Makes a backup and gives it part by part. The copy is removed when the last part has left, or nobody asks for more; what an
 * earlier one left behind is removed first, so one is made at a time.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function* createBackup(source: BackupSource): AsyncGenerator<BackupPart, void, undefined> {
  const { copyTo, dataDir, clock, version } = source;
  await removeLeftovers(dataDir);
  const copy = join(dataDir, `${COPY_PREFIX}${randomUUID()}`);
  // Of before the copy: whatever was issued from here on may lack in it.
  const createdAt = new Date(
    Math.min(source.writtenAt ?? Number.POSITIVE_INFINITY, clock.now()),
  ).toISOString();
  const facts = await copyTo(copy);
  await using handle = await open(copy, "r");
  // Its bytes stay until the handle is closed, and no end of this process can leave them behind.
  await rm(copy);
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of piecesOf(handle, 0)) {
    hash.update(piece);
    size += piece.length;
  }
  const manifest: BackupManifest = {
    trust_domain: facts.trustDomain,
    server_id: await ownServerId(dataDir),
    version,
    created_at: createdAt,
    schema_version: facts.schemaVersion,
    bundle_sequence: facts.bundleSequence.toString(),
    changes: facts.changes,
    database_bytes: size,
    database_sha256: hash.digest("hex"),
    private_keys: false,
  };
  yield { manifest: JSON.stringify(manifest) };
  for await (const data of piecesOf(handle, 0)) yield { data };
}

/**
 * As `createBackup`, of a folder that no server has.
 * @throws AssayError `STORE_IN_USE`, `STORE_UNAVAILABLE`.
 */
export async function* createOfflineBackup(
  parts: Omit<BackupSource, "copyTo" | "writtenAt">,
): AsyncGenerator<BackupPart, void, undefined> {
  const path = join(parts.dataDir, STORE_FILE);
  using _lock = takeStoreLock(path);
  // Of an old store it must not be said that it has all that there was until today.
  const writtenAt = await lastWrite(path);
  const copyTo = (target: string) => copySqliteStore(path, target);
  yield* createBackup({ ...parts, copyTo, ...(writtenAt !== undefined && { writtenAt }) });
}

async function lastWrite(path: string): Promise<number | undefined> {
  const times = await Promise.all(
    [path, `${path}-wal`].map((file) =>
      stat(file).then(
        ({ size, mtimeMs }) => (size > 0 ? mtimeMs : 0),
        () => 0,
      ),
    ),
  );
  return Math.max(...times) || undefined;
}

async function removeLeftovers(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (name.startsWith(COPY_PREFIX)) await rm(join(dataDir, name), { force: true });
  }
}

const COPY_PREFIX = ".backup-";
