import { cautiousSeconds, type Clock } from "../../clock.ts";
import type { RevokedTokensUpdate } from "./sync-update.ts";

/**
 * The tokens of the own trust domain that are revoked, as the server told them. What a token is called: its `jti`, else the
 * SHA-256 of its signing input. Each is forgotten five minutes after its end, for the server says nothing of that.
 */
export class RevokedTokens implements Disposable {
  readonly #clock: Clock;
  readonly #ends = new Map<string, number>();
  #sweep: Disposable | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** By id, with the end of each in Unix seconds, for keeping on disk. */
  get all(): ReadonlyMap<string, number> {
    return this.#ends;
  }

  /** Takes over what the server says. */
  apply({ complete, ends }: RevokedTokensUpdate): void {
    if (complete) this.#ends.clear();
    for (const [id, end] of ends) this.#ends.set(id, Math.max(end, this.#ends.get(id) ?? end));
    if (this.#sweep === undefined) this.#sweepLater(cautiousSeconds(this.#clock, MOST_FORGOTTEN));
  }

  /** Whether the token of this id is revoked. */
  has(id: string): boolean {
    return this.#ends.has(id);
  }

  /** Forgets nothing any more. */
  [Symbol.dispose](): void {
    this.#sweep?.[Symbol.dispose]();
    this.#sweep = undefined;
  }

  #sweepLater(past: () => number): void {
    this.#sweep = undefined;
    if (this.#ends.size === 0) return;
    this.#sweep = this.#clock.schedule(SWEEP_MS, () => {
      const now = past();
      for (const [id, end] of this.#ends) if (end + KEPT <= now) this.#ends.delete(id);
      this.#sweepLater(past);
    });
  }
}

const SWEEP_MS = 30_000;
// Seconds: twice what passes between two sweeps.
const MOST_FORGOTTEN = 60;
// Seconds after the end: more than any verifier's clock is off, and as long as the server keeps them.
const KEPT = 300;
