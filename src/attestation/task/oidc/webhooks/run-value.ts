import type { ClaimKind } from "../preset.ts";
import { readValue } from "../read-claims.ts";
import { refuseWebhook } from "./signed-body.ts";

/**
 * A value that names a run, in the form that the claim of a token gets, so that the keys made of both are the same.
 * @throws AssayError `ATTESTATION_FAILED` where it is missing or of another kind.
 */
export function runValue(kind: ClaimKind, value: unknown, what: string): string {
  return readValue(kind, value, what)?.[0] ?? refuseWebhook(`${what} is missing`);
}
