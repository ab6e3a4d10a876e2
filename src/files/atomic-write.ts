/**
 * files/ — the disk behind our own words: whole files or none, bounded reads, private folders, socket paths.
 *
 * Must never know what it stores: no key, no SVID, no format.
 * Called by whatever keeps something on disk, and by everything that listens on a Unix socket.
 */
import { constants } from "node:fs";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type FileErrorOptions, fileError, isErrno } from "./file-error.ts";

/** How a file is written. */
export interface AtomicWriteOptions extends FileErrorOptions {
  /** Permission bits of the new file, not narrowed by the umask; 0600 unless told. */
  readonly mode?: number;
}

/** What a file is to hold, as a whole or piece by piece. One that throws half-way leaves the old file. */
export type FileContent = Uint8Array | AsyncIterable<Uint8Array>;

/**
 * Puts these bytes in the place of whatever the path held. A reader sees the old content or the new one, never a part,
 * and when the promise resolves the new content survives a power cut. On failure the old file is there (or the whole new
 * one, where only the last sync of the folder failed) and nothing is left beside it.
 * @throws AssayError `FILE_UNAVAILABLE` (or the code given) naming the path.
 */
export async function atomicWrite(
  path: string,
  bytes: FileContent,
  options: AtomicWriteOptions = {},
): Promise<void> {
  const folder = dirname(path);
  let temporary: string | undefined;
  try {
    const opened = await openTemporary(folder, basename(path));
    temporary = opened.path;
    await fill(opened.handle, bytes, options.mode ?? PRIVATE);
    await rename(temporary, path);
    temporary = undefined;
    await syncFolder(folder);
  } catch (cause) {
    if (temporary !== undefined) await unlink(temporary).catch(() => undefined);
    throw fileError("write", path, cause, options);
  }
}

async function fill(handle: FileHandle, bytes: FileContent, mode: number): Promise<void> {
  try {
    await handle.chmod(mode);
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A new file in the same folder, as only a rename inside one file system replaces in one step. */
async function openTemporary(folder: string, name: string): Promise<{ path: string; handle: FileHandle }> {
  for (;;) {
    // Names are cut so that a long name stays inside the 255 bytes of a directory entry.
    const path = join(folder, `.${name.slice(0, 48)}.${process.pid}.${counter++}.tmp`);
    try {
      return { path, handle: await open(path, TEMPORARY_FLAGS, PRIVATE) };
    } catch (error) {
      // A killed process with the same pid left its own behind: take the next number rather than its file.
      if (!isErrno(error, "EEXIST")) throw error;
    }
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

let counter = 0;
const PRIVATE = 0o600;
const TEMPORARY_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
