import type { AssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";

/** Whether asking the server again may help. */
export function isTransient({ code }: AssayError): boolean {
  return CODES[code].grpc === "UNAVAILABLE" || code === "RATE_LIMITED";
}
