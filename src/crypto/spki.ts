import type { ErrorCode } from "../errors/codes.ts";
import { OIDS } from "./der/oid.ts";
import { INTEGER, NULL, openDer, SEQUENCE } from "./der/reader.ts";

/** Kinds of key that an SVID or an authority may have. */
export type KeyType = "ec-p256" | "ec-p384" | "rsa";

/** What a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) says. Byte arrays are views of the bytes it was read from. */
export type SpkiFacts = EcSpkiFacts<"ec-p256" | "ec-p384"> | RsaSpkiFacts;

/** What the key of somebody else's authority says. */
export type VerificationSpkiFacts = EcSpkiFacts<"ec-p256" | "ec-p384" | "ec-p521"> | RsaSpkiFacts;

/** An EC key on a named curve, as an uncompressed point. Whether the point is on the curve is not known here. */
export interface EcSpkiFacts<Curve extends "ec-p256" | "ec-p384" | "ec-p521"> {
  readonly keyType: Curve;
  /** Content of the BIT STRING: 04 ‖ x ‖ y. */
  readonly keyBits: Uint8Array;
  /** Affine x coordinate, 32, 48 or 66 octets. */
  readonly x: Uint8Array;
  /** Affine y coordinate, 32, 48 or 66 octets. */
  readonly y: Uint8Array;
}

/** An RSA key. */
export interface RsaSpkiFacts {
  readonly keyType: "rsa";
  /** Content of the BIT STRING: the RSAPublicKey. */
  readonly keyBits: Uint8Array;
  /** Modulus without sign octet. */
  readonly modulus: Uint8Array;
  /** Public exponent without sign octet. */
  readonly exponent: Uint8Array;
  /** Bits of the modulus, 2048 to 4096. */
  readonly bits: number;
}

/**
 * Reads a SubjectPublicKeyInfo strictly: EC P-256 and P-384 with a named curve and an uncompressed point, RSA of 2048
 * to 4096 bits with an odd exponent from 65537 to 2^31−1. Every other key throws `code` and is named.
 */
export function readSpki(spki: Uint8Array, code: ErrorCode): SpkiFacts {
  return read(spki, code, CURVES);
}

/** As {@link readSpki}, and EC P-521 too, which ES512 is verified with (JWT-SVID §2.1). */
export function readVerificationSpki(spki: Uint8Array, code: ErrorCode): VerificationSpkiFacts {
  return read(spki, code, VERIFICATION_CURVES);
}

function read<Curve extends "ec-p256" | "ec-p384" | "ec-p521">(
  spki: Uint8Array,
  code: ErrorCode,
  curves: Curves<Curve>,
): EcSpkiFacts<Curve | "ec-p256"> | RsaSpkiFacts {
  if (isP256(spki)) return p256Facts(spki);
  const outer = openDer(spki, code, MAX_SPKI_BYTES, "public key");
  const info = outer.enter(SEQUENCE, "public key");
  outer.done("public key");
  const algorithm = info.enter(SEQUENCE, "public key algorithm");
  const oid = algorithm.oid("public key algorithm");
  switch (oid) {
    case OIDS.ecPublicKey: {
      if (!algorithm.is(0x06)) algorithm.fail("public key must name its curve");
      const curve = algorithm.oid("curve of the public key");
      algorithm.done("public key algorithm");
      const keyBits = info.bitString("public key");
      info.done("public key");
      return ecFacts(curve, keyBits, curves, (detail) => info.fail(detail));
    }
    case OIDS.rsaEncryption: {
      if (algorithm.content(NULL, "parameters of the RSA key").length > 0) {
        algorithm.fail("parameters of the RSA key must be NULL");
      }
      algorithm.done("public key algorithm");
      const keyBits = info.bitString("public key");
      info.done("public key");
      return rsaFacts(keyBits, code);
    }
    default:
      return info.fail(`key type ${NAMES.get(oid) ?? oid} is not supported, expected ${EXPECTED}`);
  }
}

/** Content of the key's BIT STRING in any well-formed SubjectPublicKeyInfo, whatever kind of key it is. */
export function spkiKeyBits(spki: Uint8Array, code: ErrorCode): Uint8Array {
  if (isP256(spki)) return spki.subarray(P256_START.length - 1);
  const outer = openDer(spki, code, MAX_SPKI_BYTES, "public key");
  const info = outer.enter(SEQUENCE, "public key");
  info.element(SEQUENCE, "public key algorithm");
  return info.bitString("public key");
}

/** Whether these are the octets of a P-256 key with an uncompressed point. DER has one encoding for each. */
function isP256(spki: Uint8Array): boolean {
  if (spki.length !== P256_LENGTH) return false;
  for (let at = 0; at < P256_START.length; at++) if (spki[at] !== P256_START[at]) return false;
  return true;
}

function p256Facts(spki: Uint8Array): EcSpkiFacts<"ec-p256"> {
  const point = P256_START.length - 1;
  return {
    keyType: "ec-p256",
    keyBits: spki.subarray(point),
    x: spki.subarray(point + 1, point + 33),
    y: spki.subarray(point + 33),
  };
}

function ecFacts<Curve extends "ec-p256" | "ec-p384" | "ec-p521">(
  curve: string,
  keyBits: Uint8Array,
  curves: Curves<Curve>,
  fail: (detail: string) => never,
): EcSpkiFacts<Curve> {
  const facts = curves.get(curve);
  if (facts === undefined) {
    return fail(`key type EC ${NAMES.get(curve) ?? curve} is not supported, expected ${EXPECTED}`);
  }
  const { keyType, size } = facts;
  if (keyBits.length !== 1 + 2 * size || keyBits[0] !== 4)
    fail("EC public key must be an uncompressed point");
  return { keyType, keyBits, x: keyBits.subarray(1, 1 + size), y: keyBits.subarray(1 + size) };
}

function rsaFacts(keyBits: Uint8Array, code: ErrorCode): RsaSpkiFacts {
  const outer = openDer(keyBits, code, MAX_SPKI_BYTES, "RSA public key");
  const key = outer.enter(SEQUENCE, "RSA public key");
  outer.done("RSA public key");
  if (!key.is(INTEGER)) key.fail("RSA modulus is missing");
  const modulus = magnitude(key.integer("RSA modulus"), "RSA modulus", (detail) => key.fail(detail));
  const exponent = magnitude(key.integer("RSA exponent"), "RSA exponent", (detail) => key.fail(detail));
  key.done("RSA public key");
  const bits = modulus.length * 8 - Math.clz32(modulus[0] as number) + 24;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
    key.fail(`key type RSA-${bits} is not supported, expected ${EXPECTED}`);
  }
  if (((modulus[modulus.length - 1] as number) & 1) === 0) key.fail("RSA modulus must be odd");
  let value = 0;
  for (const octet of exponent) value = exponent.length > 4 ? Number.POSITIVE_INFINITY : value * 256 + octet;
  if (!(value >= 65537 && value <= MAX_EXPONENT) || value % 2 === 0) {
    key.fail("RSA exponent must be odd and between 65537 and 2147483647");
  }
  return { keyType: "rsa", keyBits, modulus, exponent, bits };
}

function magnitude(content: Uint8Array, what: string, fail: (detail: string) => never): Uint8Array {
  const first = content[0] as number;
  if (first >= 0x80) fail(`${what} must be positive`);
  return first === 0 ? content.subarray(1) : content;
}

// Two sequences, the object identifiers of EC keys and of P-256, a bit string, and the octet of an uncompressed point.
const P256_START = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");
const P256_LENGTH = P256_START.length + 64;
const EXPECTED = "EC P-256, EC P-384 or RSA of 2048 to 4096 bits";
const MAX_SPKI_BYTES = 2048;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const MAX_EXPONENT = 2 ** 31 - 1;

type Curves<Curve> = ReadonlyMap<string, { readonly keyType: Curve; readonly size: number }>;

const CURVES: Curves<"ec-p256" | "ec-p384"> = new Map([
  [OIDS.p256, { keyType: "ec-p256", size: 32 }],
  [OIDS.p384, { keyType: "ec-p384", size: 48 }],
]);
const VERIFICATION_CURVES: Curves<"ec-p256" | "ec-p384" | "ec-p521"> = new Map<
  string,
  { readonly keyType: "ec-p256" | "ec-p384" | "ec-p521"; readonly size: number }
>([...CURVES, [OIDS.p521, { keyType: "ec-p521", size: 66 }]]);
const NAMES: ReadonlyMap<string, string> = new Map([
  [OIDS.ed25519, "Ed25519"],
  [OIDS.ed448, "Ed448"],
  [OIDS.p521, "P-521"],
  ["1.3.132.0.10", "secp256k1"],
  ["1.3.132.0.33", "P-224"],
  ["1.2.840.10040.4.1", "DSA"],
  ["1.2.840.113549.1.1.10", "RSASSA-PSS"],
]);
