import type { Clock } from "../../clock.ts";
import type { Spread } from "./rotation.ts";

/** How things are let go of. */
export interface BatchedReleaseOptions {
  readonly clock: Clock;
  readonly spread: Spread;
  /** Ids let go of at once at most. */
  readonly batch: number;
  /** Milliseconds between two batches; the first comes within this time, at a random moment. */
  readonly interval: number;
  /** Takes a batch. */
  readonly release: (ids: readonly string[]) => void;
}

/**
 * Ids that wait for their turn and are let go of in batches, with pauses between them: what hits all SVIDs of all agents in
 * one moment must not come back to the server in one moment.
 */
export class BatchedRelease implements Disposable {
  readonly #options: BatchedReleaseOptions;
  readonly #waiting = new Set<string>();
  #timer: Disposable | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(options: BatchedReleaseOptions) {
    this.#options = options;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Lets an id wait, once however often it is added. */
  add(id: string): void {
    this.#waiting.add(id);
    if (this.#timer !== undefined) return;
    const { clock, spread, interval } = this.#options;
    // Another batch may have gone a moment ago. A clock that was set back must not make the pause longer.
    const pause = Math.min(interval, Math.max(0, this.#lastAt + interval - clock.now()));
    this.#wait(Math.max(pause, spread() * interval));
  }

  /** No longer lets an id wait. */
  delete(id: string): void {
    this.#waiting.delete(id);
  }

  /** Lets none wait any longer. */
  clear(): void {
    this.#waiting.clear();
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#waiting.clear();
  }

  #wait(milliseconds: number): void {
    const { clock, batch, interval, release } = this.#options;
    this.#timer = clock.schedule(milliseconds, () => {
      this.#timer = undefined;
      const ids = [...this.#waiting].slice(0, batch);
      if (ids.length === 0) return;
      for (const id of ids) this.#waiting.delete(id);
      this.#lastAt = clock.now();
      if (this.#waiting.size > 0) this.#wait(interval);
      release(ids);
    });
  }
}
