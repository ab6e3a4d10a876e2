import { OIDS } from "../../crypto/der/oid.ts";
import { OCTET_STRING, openDer } from "../../crypto/der/reader.ts";
import { bitString, encode, nullValue, oid, sequence, unsignedInteger } from "../../crypto/der/writer.ts";
import { readSpki } from "../../crypto/spki.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { KeyType } from "../../plugin/key-manager.ts";

/** The CKA_EC_PARAMS of the curves: their object identifiers, DER. */
export const EC_PARAMS: Readonly<Record<"ec-p256" | "ec-p384", Buffer>> = {
  "ec-p256": Buffer.from(encode(oid(OIDS.p256))),
  "ec-p384": Buffer.from(encode(oid(OIDS.p384))),
};

/** A public key in the encoding of certificates, and its type. */
export interface PublicKey {
  readonly type: KeyType;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
}

/**
 * The public key that CKA_EC_PARAMS and CKA_EC_POINT tell. The point is an OCTET STRING around the encoded point (PKCS #11
 * 2.40 Mechanisms §2.3.3); devices exist that leave the wrapping out, and one form cannot be taken for the other.
 * @throws AssayError `KEY_UNAVAILABLE` where no authority may have such a key.
 */
export function ecPublicKey(params: Uint8Array, point: Uint8Array): PublicKey {
  const type = (["ec-p256", "ec-p384"] as const).find((one) => EC_PARAMS[one].equals(params));
  if (type === undefined)
    throw new AssayError("KEY_UNAVAILABLE", "key is on a curve other than P-256 and P-384");
  const bare = point.length === POINT_SIZE[type] ? point : unwrapped(point);
  const curve = type === "ec-p256" ? OIDS.p256 : OIDS.p384;
  return checked(type, encode(sequence(sequence(oid(OIDS.ecPublicKey), oid(curve)), bitString(bare))));
}

/**
 * The public key that CKA_MODULUS and CKA_PUBLIC_EXPONENT tell, big-endian.
 * @throws AssayError `KEY_UNAVAILABLE` where no authority may have such a key.
 */
export function rsaPublicKey(modulus: Uint8Array, exponent: Uint8Array): PublicKey {
  const key = encode(sequence(unsignedInteger(modulus), unsignedInteger(exponent)));
  const spki = encode(sequence(sequence(oid(OIDS.rsaEncryption), nullValue()), bitString(key)));
  const facts = readSpki(spki, "KEY_UNAVAILABLE");
  const type = facts.keyType === "rsa" ? (`rsa-${facts.bits}` as const) : undefined;
  if (type !== "rsa-2048" && type !== "rsa-4096") {
    throw new AssayError("KEY_UNAVAILABLE", "RSA key has neither 2048 nor 4096 bits");
  }
  return { type, publicKey: spki };
}

function unwrapped(point: Uint8Array): Uint8Array {
  const outer = openDer(point, "KEY_UNAVAILABLE", MAX_POINT, "CKA_EC_POINT");
  const content = outer.content(OCTET_STRING, "CKA_EC_POINT");
  outer.done("CKA_EC_POINT");
  return content;
}

function checked(type: "ec-p256" | "ec-p384", publicKey: Uint8Array): PublicKey {
  readSpki(publicKey, "KEY_UNAVAILABLE");
  return { type, publicKey };
}

const POINT_SIZE = { "ec-p256": 65, "ec-p384": 97 } as const;
const MAX_POINT = 256;
