/**
 * server/backup — a server's store as one file, and a file's store in the place of a server's.
 *
 * Must never know a private key: a backup holds none. How a store is copied and made ready is store/'s business.
 * Called by the server for its RPC, and by the commands where no server runs.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import { fileError } from "../../files/file-error.ts";

const manifestSchema = z.strictObject({
  trust_domain: z.string(),
  /** Under which name authorities are journaled. */
  server_id: z.string().regex(/^[0-9a-zA-Z-]{1,64}$/),
  /** Of the program that made it. */
  version: z.string(),
  created_at: z.iso.datetime(),
  schema_version: z.int().positive(),
  /** Decimal. */
  bundle_sequence: z.string().regex(/^\d{1,20}$/),
  /** Position in the change log. */
  changes: z.int().nonnegative(),
  database_bytes: z.int().positive(),
  database_sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Private keys are in no backup. */
  private_keys: z.literal(false),
});

/** What a backup is: the one line of JSON after its first. Sizes are bytes, times ISO 8601. */
export type BackupManifest = z.infer<typeof manifestSchema>;

/** What a backup begins with; the database follows, and nothing after it. */
export function backupHeader(manifest: string): Uint8Array {
  return Buffer.from(`${MAGIC}\n${manifest}\n`);
}

/** Reads a manifest. @throws AssayError `BACKUP_INVALID` naming the field and what was expected of it. */
export function parseManifest(text: string): BackupManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid("its manifest is no JSON");
  }
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "" : ` ${issue.path.join(".")}`;
  throw invalid(`its manifest is not as expected:${where} ${issue?.message ?? ""}`);
}

/** An open backup. Disposing closes it. */
export interface OpenBackup extends AsyncDisposable {
  readonly manifest: BackupManifest;
  /** The bytes of the database, in pieces. */
  data(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** Opens a backup and reads what it is. @throws AssayError `FILE_UNAVAILABLE`, `BACKUP_INVALID`. */
export async function openBackup(path: string): Promise<OpenBackup> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw fileError("read", path, cause);
  }
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(Math.min(size, MAX_HEADER));
    await handle.read(head, 0, head.length, 0);
    const first = head.indexOf("\n");
    const second = head.indexOf("\n", first + 1);
    if (head.toString("latin1", 0, Math.max(first, 0)) !== MAGIC || second === -1) {
      throw invalid(`${path} is no backup that this program can read`);
    }
    const manifest = parseManifest(head.toString("utf8", first + 1, second));
    if (size - (second + 1) !== manifest.database_bytes) {
      throw invalid(`${path} holds ${size - (second + 1)} bytes of a database of ${manifest.database_bytes}`);
    }
    return {
      manifest,
      data: () => piecesOf(handle, second + 1),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw fileError("read", path, error);
  }
}

/** The rest of a file from a position, in pieces that fit into a message. */
export async function* piecesOf(
  handle: FileHandle,
  from: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let position = from; ; ) {
    // Each its own, for whoever reads may still hold the one before.
    const piece = Buffer.allocUnsafe(PIECE);
    const { bytesRead } = await handle.read(piece, 0, PIECE, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

/** A `BACKUP_INVALID`. */
export function invalid(detail: string): AssayError {
  return new AssayError("BACKUP_INVALID", detail);
}

const MAGIC = "assay backup 1";
const MAX_HEADER = 16 * 1024;
const PIECE = 256 * 1024;
