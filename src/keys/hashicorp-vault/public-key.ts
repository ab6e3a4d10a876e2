import { createPublicKey } from "node:crypto";

/** DER SubjectPublicKeyInfo of a PEM public key, or `undefined` where it is none. */
export function publicKeyOf(pem: string): Uint8Array | undefined {
  if (!pem.startsWith("-----BEGIN PUBLIC KEY-----")) return undefined;
  try {
    return createPublicKey({ key: pem, format: "pem" }).export({ type: "spki", format: "der" });
  } catch {
    return undefined;
  }
}
