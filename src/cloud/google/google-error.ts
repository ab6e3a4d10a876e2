import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";

/** Why Google did not do what was asked. Holds no credential. */
export class GoogleError extends Error {
  /** HTTP status, 0 where there was no answer. */
  readonly httpStatus: number;
  /** Google's name for the failure, such as `PERMISSION_DENIED`, or ours. */
  readonly reason: string;

  constructor(httpStatus: number, reason: string) {
    super(httpStatus === 0 ? reason : `${reason} (status ${httpStatus})`);
    this.name = "GoogleError";
    this.httpStatus = httpStatus;
    this.reason = reason;
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get isPassing(): boolean {
    return this.httpStatus === 0 || this.httpStatus === 429 || this.httpStatus >= 500;
  }
}

/** The failure in an error answer (AIP-193): its name only, as the message may say more than a log should hold. */
export function failureIn(httpStatus: number, body: unknown): GoogleError {
  const status = (body as { error?: { status?: unknown } } | null | undefined)?.error?.status;
  return new GoogleError(
    httpStatus,
    typeof status === "string" && NAME.test(status) ? status : "it was refused",
  );
}

/** What went wrong in a call as an error of ours: the permission that it needed and the reason. */
export function googleError(code: ErrorCode, action: string, error: unknown): AssayError {
  if (error instanceof GoogleError) return new AssayError(code, `${action} failed: ${error.message}`);
  if (error instanceof AssayError) return new AssayError(code, `${action} failed: ${error.detail}`);
  return new AssayError(code, `${action} failed: ${reasonOf(error)}`);
}

/** A name for what Node or the library of credentials threw. Their messages can quote answers, and stay out. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown reason";
  const { name, message } = error;
  if (name === "DeadlinePassed" || name === "UnreadableAnswer") return message;
  if (message.startsWith("Could not load the default credentials")) return "there are no default credentials";
  const { code } = error as { readonly code?: unknown };
  for (const candidate of [code, name]) {
    if (typeof candidate === "string" && NAME.test(candidate)) return candidate;
  }
  return "unknown reason";
}

const NAME = /^[A-Za-z0-9_]{1,64}$/;
