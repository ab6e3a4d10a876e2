import { constants, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { AssayError } from "../../../errors/assay-error.ts";
import { type KeyKind, type Proof, readChallenge, readProof, writeProof } from "./wire.ts";

/** Bounds on keys, checked before any signature is. */
export interface KeyLimits {
  /** Bits of an RSA modulus at most. */
  readonly max_rsa_key_size: number;
}

/**
 * A public key that a proof or a chain may rest on: EC on P-256, P-384 or P-521, or RSA from 2048 bits to the limit
 * with an exponent that is cheap to verify with.
 * @throws AssayError `ATTESTATION_FAILED` naming the certificate by `what`.
 */
export function usableKey(spki: Uint8Array, what: string, limits: KeyLimits): KeyObject {
  const key = imported(spki, what);
  const { modulusLength = 0, publicExponent = 0n, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
      if (modulusLength > limits.max_rsa_key_size) {
        fail(`${what} has an RSA key of more than ${limits.max_rsa_key_size} bits`);
      }
      if (modulusLength < MIN_RSA_BITS) fail(`${what} has an RSA key of less than ${MIN_RSA_BITS} bits`);
      if (publicExponent > MAX_EXPONENT) fail(`${what} has an RSA key with a huge exponent`);
      return key;
    case "ec":
      return COORDINATE_BYTES.has(namedCurve) ? key : fail(`${what} has an EC key on an unsupported curve`);
    default:
      return fail(`${what} has a key that is neither RSA nor EC`);
  }
}

/** The kind of a key, as the wire tells kinds apart. @throws AssayError `ATTESTATION_FAILED` for every other kind. */
export function keyKindOf(key: KeyObject): KeyKind {
  const type = key.asymmetricKeyType;
  return type === "rsa" || type === "ec" ? type : fail("the key is neither RSA nor EC");
}

/** Answers a challenge with the private key: RSASSA-PSS or ECDSA with SHA-256 over both nonces. */
export function answerChallenge(challenge: Uint8Array, privateKey: KeyObject, nonce: Buffer): Buffer {
  const kind = keyKindOf(privateKey);
  const signed = Buffer.concat([readChallenge(challenge, kind), nonce]);
  if (kind === "rsa") {
    const signature = sign("sha256", signed, {
      key: privateKey,
      ...PSS,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    });
    return writeProof({ kind, nonce, signature });
  }
  const both = sign("sha256", signed, { key: privateKey, dsaEncoding: "ieee-p1363" });
  return writeProof({ kind, nonce, r: both.subarray(0, both.length / 2), s: both.subarray(both.length / 2) });
}

/**
 * Checks the answer to a challenge against the key of the certificate that was verified.
 * @throws AssayError `ATTESTATION_FAILED`.
 */
export function verifyAnswer(answer: Uint8Array, nonce: Uint8Array, publicKey: KeyObject): void {
  const proof = readProof(answer, keyKindOf(publicKey));
  const signed = Buffer.concat([nonce, proof.nonce]);
  if (!isProven(proof, signed, publicKey)) fail("the proof does not verify with the key of the certificate");
}

function isProven(proof: Proof, signed: Buffer, key: KeyObject): boolean {
  if (proof.kind === "rsa") {
    const pss = { key, ...PSS, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
    return verify("sha256", signed, pss, proof.signature);
  }
  const size = COORDINATE_BYTES.get(key.asymmetricKeyDetails?.namedCurve ?? "");
  if (size === undefined || proof.r.length > size || proof.s.length > size) return false;
  const signature = Buffer.alloc(2 * size);
  // The wire leaves leading zeros out.
  proof.r.copy(signature, size - proof.r.length);
  proof.s.copy(signature, 2 * size - proof.s.length);
  return verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, signature);
}

function imported(spki: Uint8Array, what: string): KeyObject {
  try {
    const der = Buffer.from(spki.buffer, spki.byteOffset, spki.length);
    return createPublicKey({ key: der, format: "der", type: "spki" });
  } catch (cause) {
    throw new AssayError("ATTESTATION_FAILED", `${what} has a key that cannot be read`, { cause });
  }
}

function fail(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING } as const;
const MIN_RSA_BITS = 2048;
const MAX_EXPONENT = 2n ** 32n;
const COORDINATE_BYTES: ReadonlyMap<string, number> = new Map([
  ["prime256v1", 32],
  ["secp384r1", 48],
  ["secp521r1", 66],
]);
