import { createHmac, hash, timingSafeEqual } from "node:crypto";
import { AssayError } from "../../../../errors/assay-error.ts";

/** How far a signed time may lie from ours, seconds: clocks differ, and a message takes its way. */
export const WEBHOOK_WINDOW = 300;

/** HMAC-SHA256 over the parts, one after the other. */
export function hmacOf(secret: string | Uint8Array, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const hmac = createHmac("sha256", secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** Whether two texts or byte strings are the same, in a time that tells nothing about where they differ. */
export function isSame(one: string | Uint8Array, other: string | Uint8Array): boolean {
  // Hashed first: what is compared must be of one length, and the secret's is nobody's business.
  return timingSafeEqual(hash("sha256", one, "buffer"), hash("sha256", other, "buffer"));
}

/**
 * One header of a message.
 * @throws AssayError `ATTESTATION_FAILED` where it is missing.
 */
export function requiredHeader(headers: Readonly<Record<string, string>>, name: string): string {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined;
  return value === undefined || value === "" ? refuseWebhook(`header ${name} is missing`) : value;
}

/**
 * Checks a signed time, Unix seconds as digits.
 * @throws AssayError `ATTESTATION_FAILED` where it is none, or too far from `now`.
 */
export function checkSignedTime(text: string, now: number): void {
  if (!/^\d{1,12}$/.test(text)) refuseWebhook("the signed time is no number of seconds");
  if (Math.abs(now - Number(text)) > WEBHOOK_WINDOW) {
    refuseWebhook(`the signed time is more than ${WEBHOOK_WINDOW} s from ours`);
  }
}

/**
 * The members of a message that is verified.
 * @throws AssayError `ATTESTATION_FAILED` where the body is no JSON object.
 */
export function membersOf(body: Uint8Array | string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(
      typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body),
    );
  } catch {
    return refuseWebhook("the body is no JSON");
  }
  return objectOf(value) ?? refuseWebhook("the body is no JSON object");
}

/** A member that is an object, `undefined` otherwise. */
export function memberObject(
  members: Readonly<Record<string, unknown>>,
  name: string,
): Readonly<Record<string, unknown>> | undefined {
  return objectOf(members[name]);
}

/** Refuses a message. The detail is for the operator; whoever sent it learns nothing. */
export function refuseWebhook(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
