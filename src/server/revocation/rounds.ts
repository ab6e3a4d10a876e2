import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";

/** What rounds are made of. */
export interface RoundsOptions {
  readonly clock: Clock;
  readonly round: () => Promise<Round>;
  /** Told of a round that failed; another follows by itself. */
  readonly failed: (error: unknown) => void;
}

/** A round that was done. */
export interface Round {
  /** How much was done: 10,000 for a second's pause, 0 for none. */
  readonly size: number;
  /** When the next one is needed though nobody asks, milliseconds since the epoch; infinite for never. */
  readonly nextAt: number;
}

/**
 * Rounds of work, one at a time: the first at once, the next when the last one's pause is over, however many ask
 * meanwhile. The pause grows with the work, so that a round of ten thousand is done once a second and not ten times.
 */
export class Rounds implements AsyncDisposable {
  readonly #options: RoundsOptions;
  #asked: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  #notBefore = Number.NEGATIVE_INFINITY;
  #timer: Disposable | undefined;
  #refresh: Disposable | undefined;
  #closed = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** Asks for a round. */
  want(): void {
    this.next().catch(() => undefined);
  }

  /**
   * Asks for a round and resolves when one that began after the call is done.
   * @throws AssayError what the round throws; `SHUTTING_DOWN` where it did not come to that.
   */
  next(): Promise<void> {
    if (this.#closed) return Promise.reject(closing());
    this.#asked ??= Promise.withResolvers<void>();
    const { promise } = this.#asked;
    this.#start();
    return promise;
  }

  /** Resolves when no round is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    await this.#running;
    this.#refresh?.[Symbol.dispose]();
    this.#asked?.reject(closing());
  }

  #start(): void {
    if (this.#closed || this.#running !== undefined || this.#asked === undefined) return;
    const { clock } = this.#options;
    const wait = Math.min(this.#notBefore - clock.now(), LONGEST_PAUSE);
    if (wait > 0) {
      this.#timer ??= clock.schedule(wait, () => {
        this.#timer = undefined;
        this.#start();
      });
      return;
    }
    const asked = this.#asked;
    this.#asked = undefined;
    this.#running = this.#run(asked).finally(() => {
      this.#running = undefined;
      this.#start();
    });
  }

  async #run(asked: PromiseWithResolvers<void>): Promise<void> {
    const { clock, round, failed } = this.#options;
    try {
      const { size, nextAt } = await round();
      this.#pause(size === 0 ? 0 : Math.max(SHORTEST_PAUSE, size / 10), nextAt);
      asked.resolve();
    } catch (error) {
      this.#pause(RETRY, clock.now());
      failed(error);
      asked.reject(error);
    }
  }

  #pause(milliseconds: number, nextAt: number): void {
    const { clock } = this.#options;
    const now = clock.now();
    this.#notBefore = now + Math.min(milliseconds, LONGEST_PAUSE);
    this.#refresh?.[Symbol.dispose]();
    if (nextAt === Number.POSITIVE_INFINITY) return;
    // A timer does not see the clock being set, so none is longer than a glance now and then.
    const wait = Math.min(Math.max(nextAt - now, RETRY), GLANCE);
    this.#refresh = clock.schedule(wait, () => this.want());
  }
}

function closing(): AssayError {
  return new AssayError("SHUTTING_DOWN", "the server stops");
}

// Milliseconds.
const SHORTEST_PAUSE = 100;
// Whoever is to hear of an end within five seconds waits for this one and for the round after it.
const LONGEST_PAUSE = 2000;
const RETRY = 1000;
const GLANCE = 60_000;
