import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { AssayError } from "../errors/assay-error.ts";
import { type FileErrorOptions, fileError, isErrno } from "./file-error.ts";

/**
 * The content of a regular file of at most `maxBytes` bytes; symbolic links are followed.
 * @throws AssayError `FILE_UNAVAILABLE` (or the code given) naming the path, also where the file is larger or is no
 * regular file.
 */
export async function readBounded(
  path: string,
  maxBytes: number,
  options: FileErrorOptions = {},
): Promise<Buffer> {
  try {
    return await read(path, maxBytes, options);
  } catch (cause) {
    throw fileError("read", path, cause, options);
  }
}

/**
 * As `readBounded`, but `undefined` where there is no such file.
 * @throws AssayError as `readBounded`.
 */
export async function readBoundedIfPresent(
  path: string,
  maxBytes: number,
  options: FileErrorOptions = {},
): Promise<Buffer | undefined> {
  try {
    return await read(path, maxBytes, options);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    throw fileError("read", path, cause, options);
  }
}

async function read(path: string, maxBytes: number, options: FileErrorOptions): Promise<Buffer> {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would hang.
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const facts = await handle.stat();
  if (!facts.isFile()) throw refused(path, "is not a regular file", options);
  const chunks: Buffer[] = [];
  let total = 0;
  // The size that stat tells is only a hint: a file may grow while it is read, and /proc tells 0.
  for (;;) {
    const chunk = Buffer.allocUnsafe(Math.min(maxBytes + 1 - total, Math.max(CHUNK, facts.size + 1)));
    const { bytesRead } = await handle.read(chunk, 0, chunk.length);
    if (bytesRead === 0) return Buffer.concat(chunks, total);
    total += bytesRead;
    if (total > maxBytes) throw refused(path, `is larger than ${maxBytes} bytes`, options);
    chunks.push(chunk.subarray(0, bytesRead));
  }
}

function refused(path: string, why: string, options: FileErrorOptions): AssayError {
  return new AssayError(options.code ?? "FILE_UNAVAILABLE", `cannot read ${path}: it ${why}`);
}

const CHUNK = 4096;
