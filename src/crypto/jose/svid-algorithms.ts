import type { KeyType } from "../spki.ts";

/** The signature algorithms of SVIDs in JOSE form (JWT-SVID §2.1, WIT-SVID §2.3). */
export const SVID_ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "ES256",
  "ES384",
  "ES512",
  "PS256",
  "PS384",
  "PS512",
] as const;

/** One of the nine. */
export type SvidAlgorithm = (typeof SVID_ALGORITHMS)[number];

/** Reads the name of an algorithm from outside; `undefined` for every other text. Letters' case matters. */
export function svidAlgorithmOf(name: string): SvidAlgorithm | undefined {
  return SVID_ALGORITHMS.find((known) => known === name);
}

/** Whether a key of this kind can sign by the algorithm (RFC 7518 §3.3 to §3.5). */
export function fitsKeyType(algorithm: SvidAlgorithm, keyType: KeyType): boolean {
  switch (keyType) {
    case "ec-p256":
      return algorithm === "ES256";
    case "ec-p384":
      return algorithm === "ES384";
    case "rsa":
      return algorithm.startsWith("RS") || algorithm.startsWith("PS");
    default:
      return false;
  }
}
