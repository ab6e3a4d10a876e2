import { hash } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";

/**
 * What was used once and must not be used again, in buckets of time that are forgotten as a whole. Each thing belongs to
 * the bucket that it says itself, in a way that cannot be changed, so it is looked for in that bucket alone.
 *
 * Once half of the room is taken, nobody gets more than a small share of it, so that one who brings many things cannot keep
 * all others out.
 */
export class ReplayMemory {
  readonly #buckets = new Map<number, Bucket>();
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
   * @param holder Whose share it is taken from.
   * @throws AssayError `OVERLOADED` where there is no room: what cannot be remembered cannot be let in.
   */
  remember(bucket: number, id: string, holder: string = id): boolean {
    const digest = hash("sha256", id, "base64url").slice(0, DIGEST_CHARACTERS);
    const known = this.#buckets.get(bucket) ?? { ids: new Set<string>(), counts: new Map<string, number>() };
    if (known.ids.has(digest)) return false;
    if (!this.#hasRoom(holder)) {
      throw new AssayError(
        "OVERLOADED",
        "too many proofs of possession in a short time, try again in a minute",
      );
    }
    known.ids.add(digest);
    known.counts.set(holder, (known.counts.get(holder) ?? 0) + 1);
    this.#buckets.set(bucket, known);
    this.#size += 1;
    return true;
  }

  /** Forgets all buckets before this one. */
  forgetBefore(bucket: number): void {
    for (const [number, { ids }] of this.#buckets) {
      if (number >= bucket) continue;
      this.#buckets.delete(number);
      this.#size -= ids.size;
    }
  }

  #hasRoom(holder: string): boolean {
    if (this.#size < this.#capacity / 2) return true;
    let held = 0;
    for (const { counts } of this.#buckets.values()) held += counts.get(holder) ?? 0;
    return this.#size < this.#capacity && held < this.#capacity / SHARES;
  }
}

interface Bucket {
  readonly ids: Set<string>;
  /** How many of them are whose. */
  readonly counts: Map<string, number>;
}

/** How many parts the room has once half of it is taken. */
const SHARES = 256;
// 144 bits.
const DIGEST_CHARACTERS = 24;
