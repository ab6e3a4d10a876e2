import { type AssayError, callerMessage, toAssayError } from "../../errors/assay-error.ts";
import { CODES, type GrpcStatusName } from "../../errors/codes.ts";

/** The outcome of one item of a batch (`spire.api.types.Status`). */
export interface WireStatus {
  readonly code: number;
  readonly message: string;
}

/** The status of an item that succeeded, as SPIRE's clients expect it. */
export const OK: WireStatus = { code: 0, message: "OK" };

/** The status of an item that failed. Anything that is no `AssayError` is an internal error without detail. */
export function statusOf(error: unknown): WireStatus {
  return statusOfError(toAssayError(error));
}

function statusOfError(error: AssayError): WireStatus {
  return { code: NUMBERS[CODES[error.code].grpc], message: callerMessage(error) };
}

const NUMBERS: Readonly<Record<GrpcStatusName, number>> = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
};
