import type { KeyType } from "../../plugin/key-manager.ts";
import { p1363ToDer } from "../ecdsa-form.ts";
import { CK } from "./cryptoki.ts";

/** What a device is told to sign with, and what exactly. */
export interface SigningInput {
  readonly mechanism: number;
  readonly data: Buffer;
}

/**
 * How a digest is signed: ECDSA over the digest itself, RSASSA-PKCS1-v1_5 over a DigestInfo (RFC 8017 §9.2), which devices
 * offer that cannot hash as well as those that can, and which keeps large data away from them.
 * @param digest SHA-384 for P-384, else SHA-256.
 */
export function signingInput(type: KeyType, digest: Uint8Array): SigningInput {
  switch (type) {
    case "ec-p256":
    case "ec-p384":
      return { mechanism: CK.CKM_ECDSA, data: Buffer.from(digest) };
    case "rsa-2048":
    case "rsa-4096":
      return { mechanism: CK.CKM_RSA_PKCS, data: Buffer.concat([SHA256_INFO, digest]) };
    default:
      throw new RangeError(`no way to sign with a key of type ${String(type satisfies never)}`);
  }
}

/** A device's signature in the form of X.509: r ‖ s becomes DER (RFC 3279 §2.2.3), an RSA signature stays as it is. */
export function signatureToDer(type: KeyType, signature: Uint8Array): Uint8Array {
  return type === "rsa-2048" || type === "rsa-4096" ? signature : p1363ToDer(signature);
}

// DigestInfo of SHA-256 up to the digest itself.
const SHA256_INFO = Buffer.from("3031300d060960864801650304020105000420", "hex");
