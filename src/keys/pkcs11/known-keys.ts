import { randomBytes } from "node:crypto";

/** How a key is to be made. */
export interface MakingOrder {
  /** The last four octets of the new key's CKA_ID. */
  readonly end: Uint8Array;
  /** In hexadecimal, what the ends of the CKA_IDs of keys that are ours begin with: four octets, or three. */
  readonly known: readonly string[];
}

/**
 * The keys of a token that one server found or made, while it runs: what else has its labels is another server's. A key is known before it is
 * made, since the answer may be lost with the key in the token: all that this server makes have three octets in common that it
 * chose when it began, however often it tried.
 */
export class KnownKeys {
  readonly #found = new Set<string>();
  readonly #own = randomBytes(OWN_SIZE);
  #count = 0;

  /** Notes keys that were found. */
  note<Keys extends readonly { readonly handle: string }[]>(keys: Keys): Keys {
    for (const { handle } of keys) this.#found.add(endOf(handle));
    return keys;
  }

  /** Has a key made. */
  making<Key>(make: (order: MakingOrder) => Promise<Key>): Promise<Key> {
    // Two keys that are made in one millisecond, as by a clock that was set back, differ in this.
    const number = this.#count++ % 256;
    const end = Buffer.concat([this.#own, Buffer.of(number)]);
    return make({ end, known: [...this.#found, this.#own.toString("hex")] });
  }
}

/** Whether a key is one of those known, by its CKA_ID in hexadecimal. */
export function isKnown(handle: string, known: MakingOrder["known"]): boolean {
  const end = endOf(handle);
  return known.some((begin) => end.startsWith(begin));
}

function endOf(handle: string): string {
  return handle.slice(-2 * (OWN_SIZE + 1));
}

const OWN_SIZE = 3;
