import { callerMessage, toAssayError } from "../../errors/assay-error.ts";
import { statusNumber } from "../../rpc/status.ts";

/** The outcome of one item of a batch (`spire.api.types.Status`). */
export interface WireStatus {
  readonly code: number;
  readonly message: string;
}

/** The status of an item that succeeded, as SPIRE's clients expect it. */
export const OK: WireStatus = { code: 0, message: "OK" };

/** The status of an item that failed. Anything that is no `AssayError` is an internal error without detail. */
export function statusOf(thrown: unknown): WireStatus {
  const error = toAssayError(thrown);
  return { code: statusNumber(error.code), message: callerMessage(error) };
}
