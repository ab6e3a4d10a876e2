import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";

/**
 * What went wrong in a call of Azure as an error of ours: what was done, Azure's code for the failure and its status. Its
 * message stays out, which may quote the request; the error itself too, which holds it.
 */
export function azureError(code: ErrorCode, action: string, error: unknown): AssayError {
  if (error instanceof AssayError) return new AssayError(code, `${action} failed: ${error.detail}`);
  const status = statusOf(error);
  const shown = status === undefined ? "" : ` (status ${status})`;
  return new AssayError(code, `${action} failed: ${nameOf(error)}${shown}`);
}

/** Whether Azure says that there is no such thing. */
export function isAbsent(error: unknown): boolean {
  return statusOf(error) === 404;
}

function statusOf(error: unknown): number | undefined {
  const status = (error as { readonly statusCode?: unknown } | undefined)?.statusCode;
  return typeof status === "number" ? status : undefined;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown reason";
  if (error.name === "DeadlinePassed") return error.message;
  const { code } = error as NodeJS.ErrnoException;
  // Entra's own number of a failed login, such as AADSTS7000215, is what its documentation is searched by.
  const login = /\bAADSTS\d{4,9}\b/.exec(error.message)?.[0];
  for (const candidate of [login, code, error.name]) {
    if (typeof candidate === "string" && PLAIN.test(candidate)) return candidate;
  }
  return "unknown reason";
}

const PLAIN = /^[A-Za-z0-9_.-]{1,100}$/;
