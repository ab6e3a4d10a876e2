import { AssayError } from "../../errors/assay-error.ts";

/** The metadata key, and HTTP header, that every request of the Workload API carries (Workload Endpoint §3). */
export const SECURITY_HEADER = "workload.spiffe.io";

/**
 * Refuses a request that does not carry the security header exactly once with exactly the value `true`: a program that was
 * tricked into making a request for somebody else cannot set it.
 * @throws AssayError `SECURITY_HEADER_MISSING`.
 */
export function requireSecurityHeader(value: string | readonly string[] | undefined): void {
  if (value !== "true") {
    throw new AssayError("SECURITY_HEADER_MISSING", "security header missing from request");
  }
}
