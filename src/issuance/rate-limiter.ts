import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";

/** How much one key may do: `perSecond` on average, `burst` at once. Both above 0. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
}

/**
 * A token bucket per key. It sheds instead of queueing: a caller that is over its limit is told so at once, and no
 * request of one caller waits behind those of another.
 *
 * The table is bounded: when it is full, the buckets that are full again, which say nothing, are dropped, and then
 * those unused for longest.
 */
export class RateLimiter {
  readonly #limit: RateLimit;
  readonly #clock: Clock;
  readonly #maxKeys: number;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(limit: RateLimit, clock: Clock, maxKeys = 65_536) {
    this.#limit = limit;
    this.#clock = clock;
    this.#maxKeys = maxKeys;
  }

  /**
   * Takes `amount` from the key's bucket.
   * @throws AssayError `RATE_LIMITED` where there is not that much in it; nothing is taken then.
   */
  take(key: string, amount = 1): void {
    const now = this.#clock.now();
    const bucket = this.#buckets.get(key);
    const { perSecond, burst } = this.#limit;
    // A clock that was set back must not drain a bucket.
    const elapsed = bucket === undefined ? 0 : Math.max(0, now - bucket.at) / 1000;
    const available = bucket === undefined ? burst : Math.min(burst, bucket.tokens + elapsed * perSecond);
    if (amount > available) {
      const wait = amount > burst ? "a smaller batch" : `${((amount - available) / perSecond).toFixed(1)} s`;
      throw new AssayError(
        "RATE_LIMITED",
        `rate limit of ${perSecond} per second exceeded, try again after ${wait}`,
      );
    }
    this.#buckets.delete(key);
    if (this.#buckets.size >= this.#maxKeys) this.#evict(now);
    this.#buckets.set(key, { tokens: available - amount, at: now });
  }

  /** How many keys are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  #evict(now: number): void {
    const { perSecond, burst } = this.#limit;
    for (const [key, bucket] of this.#buckets) {
      if (bucket.tokens + ((now - bucket.at) / 1000) * perSecond >= burst) this.#buckets.delete(key);
    }
    // Insertion order is order of last use, as every use re-inserts. An eighth at once, so that a flood of new keys
    // pays for the walk above once in many calls.
    for (const key of this.#buckets.keys()) {
      if (this.#buckets.size < this.#maxKeys * 0.875) break;
      this.#buckets.delete(key);
    }
  }
}
