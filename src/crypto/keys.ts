import { createECDH, createPublicKey, generateKeyPair, hash, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { OIDS } from "./der/oid.ts";
import {
  bitString,
  encode,
  explicit,
  octetsOf,
  octetString,
  oid,
  sequence,
  tinyInteger,
} from "./der/writer.ts";
import { type KeyType, readSpki, spkiKeyBits } from "./spki.ts";

/** A fresh key pair in the encodings that the Workload API and certificates use. */
export interface KeyPair {
  /** PrivateKeyInfo v1, DER (RFC 5208 §5). Secret. */
  readonly pkcs8: Uint8Array;
  /** SubjectPublicKeyInfo, DER (RFC 5280 §4.1.2.7). */
  readonly spki: Uint8Array;
}

/** The EC curves of SVID keys. */
export type Curve = "ec-p256" | "ec-p384";

/**
 * A fresh EC key pair, synchronously: tens of thousands a second on P-256. The result is ordinary PKCS#8 with the
 * RFC 5915 key inside and the public key included.
 */
export function generateEcKeyPair(curve: Curve): KeyPair {
  const { name, algorithm, size } = CURVES[curve];
  const ecdh = createECDH(name);
  const point = ecdh.generateKeys();
  const scalar = ecdh.getPrivateKey();
  // OpenSSL drops the scalar's leading zeros; RFC 5915 §3 wants it at full length.
  const padded = Buffer.alloc(size);
  padded.set(scalar, size - scalar.length);
  const ecPrivateKey = sequence(tinyInteger(1), octetString(padded), explicit(1, bitString(point)));
  const pkcs8 = encode(sequence(tinyInteger(0), algorithm, octetsOf(ecPrivateKey)));
  scalar.fill(0);
  padded.fill(0);
  return { pkcs8, spki: encode(sequence(algorithm, bitString(point))) };
}

/** A fresh RSA key pair with exponent 65537; takes tenths of a second, on another thread. */
export async function generateRsaKeyPair(bits: 2048 | 3072 | 4096): Promise<KeyPair> {
  const { publicKey, privateKey } = await generate("rsa", {
    modulusLength: bits,
    publicExponent: 65537,
    publicKeyEncoding: { type: "spki", format: "der" },
    privateKeyEncoding: { type: "pkcs8", format: "der" },
  });
  return { pkcs8: privateKey, spki: publicKey };
}

/** The kind of a public key, or `code` where no SVID or authority may have such a key. Also checks its encoding. */
export function keyTypeOf(spki: Uint8Array, code: ErrorCode): KeyType {
  return readSpki(spki, code).keyType;
}

/** A key to verify with. Refuses with `code` what OpenSSL cannot read, a point off its curve among it. */
export function importPublicKey(spki: Uint8Array, code: ErrorCode): KeyObject {
  try {
    return createPublicKey({ key: asBuffer(spki), format: "der", type: "spki" });
  } catch (cause) {
    throw unusableKey(code, cause);
  }
}

/** What is thrown where OpenSSL cannot read a public key. */
export function unusableKey(code: ErrorCode, cause: unknown): AssayError {
  return new AssayError(code, "public key cannot be used: it is malformed or not on its curve", { cause });
}

/**
 * Subject key identifier of a SubjectPublicKeyInfo: SHA-1 of the BIT STRING's content, 20 octets (RFC 5280 §4.2.1.2,
 * method 1). An identifier only; nothing rests on SHA-1 being hard to collide.
 */
export function subjectKeyIdentifier(spki: Uint8Array): Uint8Array {
  return keyIdentifier(spkiKeyBits(spki, "INVALID_CERTIFICATE"));
}

/** As {@link subjectKeyIdentifier}, from the content of the BIT STRING. */
export function keyIdentifier(keyBits: Uint8Array): Uint8Array {
  return hash("sha1", keyBits, "buffer");
}

function ecAlgorithm(curve: string): Uint8Array {
  return encode(sequence(oid(OIDS.ecPublicKey), oid(curve)));
}

/** The same bytes as what the platform's older functions take. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

const generate = promisify(generateKeyPair);
const CURVES = {
  "ec-p256": { name: "prime256v1", algorithm: ecAlgorithm(OIDS.p256), size: 32 },
  "ec-p384": { name: "secp384r1", algorithm: ecAlgorithm(OIDS.p384), size: 48 },
} as const;
