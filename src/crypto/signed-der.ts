import { OIDS } from "./der/oid.ts";
import { bitString, encode, nullValue, oid, sequence } from "./der/writer.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";

/** The AlgorithmIdentifier of a signature: ECDSA without parameters, RSA with NULL (RFC 5758 §3.2, RFC 4055 §5). */
export function signatureAlgorithmIdentifier(algorithm: SigningAlgorithm): Uint8Array {
  return IDENTIFIERS[algorithm];
}

/**
 * Puts signed bytes, their algorithm and the signature together, as certificates, requests and CRLs have it.
 * `toBeSigned` goes in as it is: the bytes signed are the bytes sent.
 */
export function assembleSigned(
  toBeSigned: Uint8Array,
  algorithm: SigningAlgorithm,
  signature: Uint8Array,
): Uint8Array {
  return encode(sequence(toBeSigned, IDENTIFIERS[algorithm], bitString(signature)));
}

const IDENTIFIERS: Readonly<Record<SigningAlgorithm, Uint8Array>> = {
  "ecdsa-sha256": encode(sequence(oid(OIDS.ecdsaWithSha256))),
  "ecdsa-sha384": encode(sequence(oid(OIDS.ecdsaWithSha384))),
  "rsa-sha256": encode(sequence(oid(OIDS.sha256WithRsaEncryption), nullValue())),
};
