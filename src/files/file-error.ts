import { getSystemErrorMessage } from "node:util";
import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";

/** What the caller of a file operation may say about its errors. */
export interface FileErrorOptions {
  /** Code of the error where the operation fails; `FILE_UNAVAILABLE` unless told. */
  readonly code?: ErrorCode;
}

/** The error of a failed file operation: what was tried, on which path, and the system's own reason. */
export function fileError(
  action: string,
  path: string,
  cause: unknown,
  options: FileErrorOptions = {},
): AssayError {
  if (cause instanceof AssayError) return cause;
  return new AssayError(options.code ?? "FILE_UNAVAILABLE", `cannot ${action} ${path}: ${reasonOf(cause)}`, {
    cause,
  });
}

/** Whether a thrown value is a system error of this name, e.g. `ENOENT`. */
export function isErrno(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof Error && names.includes((error as NodeJS.ErrnoException).code ?? "");
}

/** The system's reason for a failure as text, e.g. `no space left on device (ENOSPC)`. */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return "unknown reason";
  const { code, errno } = cause as NodeJS.ErrnoException;
  if (code === undefined) return cause.message;
  if (errno === undefined || errno >= 0) return code;
  return `${getSystemErrorMessage(errno)} (${code})`;
}
