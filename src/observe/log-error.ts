import { AssayError } from "../errors/assay-error.ts";
import { looksSecret } from "./redact.ts";
import { SECRET_TEXT } from "./secret.ts";

/** An error as a log line shows it. */
export interface LoggedError {
  readonly type: string;
  readonly code?: string;
  readonly message: string;
  /** Only where the error is not one that Assay throws on purpose: then it is a bug, and the place matters. */
  readonly stack?: string;
  readonly cause?: LoggedError;
}

/** The error with its causes, at most five deep, as plain data without secrets. */
export function loggedError(error: unknown, depth = 0): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: clean(String(error)) };
  const deliberate = error instanceof AssayError;
  const code = codeOf(error);
  const { cause } = error as { cause?: unknown };
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: clean(deliberate ? error.detail : error.message),
    ...(deliberate || error.stack === undefined ? {} : { stack: clean(error.stack) }),
    ...(cause === undefined || depth >= MAX_CAUSES ? {} : { cause: loggedError(cause, depth + 1) }),
  };
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === "string" || typeof code === "number" ? String(code) : undefined;
}

function clean(text: string): string {
  return looksSecret(text) ? SECRET_TEXT : text;
}

const MAX_CAUSES = 5;
