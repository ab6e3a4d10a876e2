import { readSpki, type KeyType } from "../crypto/spki.ts";
import type { KeyFacts } from "../policy/workload-id.ts";
import type { SvidKeyType } from "../spiffe/svid-key-type.ts";

/** What an entry demands of the keys of its SVIDs. */
export interface KeyWanted {
  /** The one type of key that its SVIDs have; empty or absent where any will do. */
  readonly svidKeyType?: SvidKeyType | "";
}

/** What policy has to know of a public key, SubjectPublicKeyInfo of this type that was read before. */
export function keyFactsOf(spki: Uint8Array, keyType: KeyType, { svidKeyType = "" }: KeyWanted): KeyFacts {
  if (svidKeyType === "") return { keyType };
  const facts = readSpki(spki, "INVALID_CSR");
  return { keyType, svidKeyType, ...(facts.keyType === "rsa" && { keyBits: facts.bits }) };
}
