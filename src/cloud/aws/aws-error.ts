import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";

/**
 * What went wrong in a call of AWS as an error of ours: the action that failed, AWS's name for the failure, its status
 * and the request's ID, by which AWS's support finds it. Their message and the error itself stay out: a refused
 * signature is explained with the headers that were signed, and those hold a session token.
 */
export function awsError(code: ErrorCode, action: string, error: unknown): AssayError {
  if (error instanceof AssayError) return new AssayError(code, `${action} failed: ${error.detail}`);
  const metadata = (error as FailedCall | undefined)?.$metadata;
  const request = metadata?.requestId ?? "";
  const facts = [
    ...(typeof metadata?.httpStatusCode === "number" ? [`status ${metadata.httpStatusCode}`] : []),
    ...(PLAIN.test(request) ? [`request ${request}`] : []),
  ];
  const shown = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  return new AssayError(code, `${action} failed: ${awsErrorName(error)}${shown}`);
}

/** AWS's name for a failure, such as `ThrottlingException`, or the system's, such as `ECONNREFUSED`. */
export function awsErrorName(error: unknown): string {
  if (!(error instanceof Error)) return "unknown reason";
  const { name, message } = error;
  const { code } = error as NodeJS.ErrnoException;
  if (name === "DeadlinePassed") return message;
  for (const candidate of [name === "Error" || name === "AggregateError" ? code : name, code, name]) {
    if (typeof candidate === "string" && PLAIN.test(candidate)) return candidate;
  }
  return "unknown reason";
}

/** Whether the same call may succeed later without anybody changing anything: no answer, throttled, a fault of theirs. */
export function isPassing(error: unknown): boolean {
  const status = (error as FailedCall | undefined)?.$metadata?.httpStatusCode;
  if (status === undefined) return true;
  return status >= 500 || status === 429 || THROTTLED.test(awsErrorName(error));
}

interface FailedCall {
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
}

const PLAIN = /^[A-Za-z0-9_.-]{1,100}$/;
const THROTTLED = /thrott|limitexceeded|slowdown|toomanyrequests|requestinprogress/i;
