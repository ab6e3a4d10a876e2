import { getSystemErrorMessage } from "node:util";
import { AssayError } from "../../errors/assay-error.ts";

/**
 * What an error of the driver means. What the world did (full disk, read-only folder, damage, a lock held by
 * someone else) becomes `STORE_UNAVAILABLE` naming the file; what the program did wrong stays as it is and so becomes
 * `INTERNAL` at the edge.
 */
export function storeFailure(error: unknown, path: string): unknown {
  if (error instanceof AssayError) return error;
  const code = primaryCode(error);
  if (code === undefined) {
    if (isSystemError(error)) return unavailable(path, reasonOf(error), error);
    const closed = (error as { code?: unknown }).code === "ERR_INVALID_STATE";
    return closed ? unavailable(path, "it is closed", error) : error;
  }
  if (PROGRAM_FAULTS.has(code)) return error;
  return unavailable(path, REASONS.get(code) ?? (error as Error).message, error);
}

/** Whether the error says that another connection holds the lock. */
export function isBusy(error: unknown): boolean {
  return primaryCode(error) === BUSY;
}

/** A `STORE_UNAVAILABLE` that names the file. */
export function unavailable(path: string, reason: string, cause?: unknown): AssayError {
  return new AssayError("STORE_UNAVAILABLE", `the store ${path} cannot be used: ${reason}`, { cause });
}

/** The system's reason for a failure as text, e.g. `permission denied, EACCES`. */
export function reasonOf(error: unknown): string {
  const { code, errno } = error as NodeJS.ErrnoException;
  if (code === undefined) return String(error);
  return errno === undefined ? code : `${getSystemErrorMessage(errno)}, ${code}`;
}

function isSystemError(error: unknown): boolean {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  return error instanceof Error && typeof errno === "number" && typeof syscall === "string";
}

function primaryCode(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  // The low byte is the primary code; the rest of it says which of its kind.
  return code === "ERR_SQLITE_ERROR" && typeof errcode === "number" ? errcode & 0xff : undefined;
}

const BUSY = 5;

// SQLITE_ERROR, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_MISUSE, SQLITE_RANGE.
const PROGRAM_FAULTS: ReadonlySet<number> = new Set([1, 19, 20, 21, 25]);

const REASONS: ReadonlyMap<number, string> = new Map([
  [3, "access is denied"],
  [BUSY, "another process holds its lock"],
  [8, "it is read-only"],
  [10, "reading or writing it failed"],
  [11, "it is damaged; put a backup in its place with assay restore"],
  [13, "the disk or the database is full"],
  [14, "it cannot be opened"],
  [26, "it is not a database"],
]);
