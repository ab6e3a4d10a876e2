import { randomBytes } from "node:crypto";

/** How a key is to be made. */
export interface MakingOrder {
  /** Octets at the end of the new key's CKA_ID. */
  readonly random: Uint8Array;
  /** The ends, in hexadecimal, of the CKA_IDs of keys that are ours. */
  readonly known: readonly string[];
}

/**
 * The keys of a token that one server found or made, while it runs: what else has its labels is another server's. A key is known before it is
 * made, by octets that the server chose, since the answer may be lost with the key in the token.
 */
export class KnownKeys {
  readonly #sure = new Set<string>();
  readonly #tried: string[] = [];

  /** Notes keys that were found. */
  note<Keys extends readonly { readonly handle: string }[]>(keys: Keys): Keys {
    for (const { handle } of keys) this.#sure.add(endOf(handle));
    return keys;
  }

  /** Has a key made. */
  async making<Key extends { readonly handle: string }>(
    make: (order: MakingOrder) => Promise<Key>,
  ): Promise<Key> {
    const random = randomBytes(END_SIZE);
    this.#tried.push(random.toString("hex"));
    if (this.#tried.length > MOST_TRIED) this.#tried.shift();
    const key = await make({ random, known: [...this.#sure, ...this.#tried] });
    this.note([key]);
    return key;
  }
}

/** The end of a CKA_ID in hexadecimal, by which a key is known. */
export function endOf(handle: string): string {
  return handle.slice(-2 * END_SIZE);
}

const END_SIZE = 4;
const MOST_TRIED = 64;
