import { hash } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";

/**
 * What was used once and must not be used again, in buckets of time that are forgotten as a whole. Each thing belongs to
 * the bucket that it says itself, in a way that cannot be changed, so it is looked for in that bucket alone.
 */
export class ReplayMemory {
  readonly #buckets = new Map<number, Set<string>>();
  readonly #capacity: number;
  #size = 0;

  /** @param capacity How many are remembered at most, all buckets together. */
  constructor(capacity = 131_072) {
    this.#capacity = capacity;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#size;
  }

  /**
   * Whether the id is new in its bucket; remembers it.
   * @throws AssayError `OVERLOADED` where there is no room: what cannot be remembered cannot be let in.
   */
  remember(bucket: number, id: string): boolean {
    const digest = hash("sha256", id, "base64url").slice(0, DIGEST_CHARACTERS);
    const known = this.#buckets.get(bucket) ?? new Set();
    if (known.has(digest)) return false;
    if (this.#size >= this.#capacity) {
      throw new AssayError(
        "OVERLOADED",
        "too many proofs of possession in a short time, try again in a minute",
      );
    }
    known.add(digest);
    this.#buckets.set(bucket, known);
    this.#size += 1;
    return true;
  }

  /** Forgets all buckets before this one. */
  forgetBefore(bucket: number): void {
    for (const [number, known] of this.#buckets) {
      if (number >= bucket) continue;
      this.#buckets.delete(number);
      this.#size -= known.size;
    }
  }
}

// 144 bits.
const DIGEST_CHARACTERS = 24;
