import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";

/** How much may be asked of a service at once. */
export interface CallBounds {
  /** Calls under way at once; a call that was given up keeps its place until it ends, see {@link BoundedCalls}. */
  readonly maxInFlight: number;
  /** Calls that wait for a place; one more is refused. */
  readonly maxWaiting: number;
}

/**
 * Calls to a service that may stall: so many at once, so many waiting, each with a deadline that counts the waiting. The
 * promise given out ends at the deadline, whatever the service does. The call itself cannot be ended from here, so
 * it keeps its place until it ends by itself or a minute is over: a service that stalls is not asked ever more often, and
 * a call that never ends does not shut the door for ever.
 */
export class BoundedCalls implements Disposable {
  readonly #clock: Clock;
  readonly #bounds: CallBounds;
  readonly #waiting = new Set<Call>();
  readonly #open = new Set<Call>();
  #inFlight = 0;
  #closed = false;

  constructor(clock: Clock, bounds: CallBounds) {
    this.#clock = clock;
    this.#bounds = bounds;
  }

  /**
   * Runs the task when there is a place for it.
   * @param what For the error, after "did not": `sign with key a`.
   * @param deadline Milliseconds from now.
   * @throws AssayError `RATE_LIMITED` where too many wait already, `KEY_UNAVAILABLE` at the deadline or when closed, and
   * what the task throws.
   */
  run<Result>(what: string, deadline: number, task: () => Promise<Result>): Promise<Result> {
    if (this.#closed) return Promise.reject(closed());
    if (this.#inFlight >= this.#bounds.maxInFlight && this.#waiting.size >= this.#bounds.maxWaiting) {
      return Promise.reject(
        new AssayError("RATE_LIMITED", "too much is asked of the key manager at once; try again later"),
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const call: Call = {
      begin: () => {
        this.#waiting.delete(call);
        this.#occupy((async () => task())()).then(
          (result) => this.#end(call, () => resolve(result)),
          (error: unknown) => this.#end(call, () => reject(error)),
        );
      },
      fail: (error) => this.#end(call, () => reject(error)),
      timer: this.#clock.schedule(deadline, () => {
        call.fail(
          new AssayError("KEY_UNAVAILABLE", `key manager did not ${what} within ${deadline / 1000} s`),
        );
      }),
    };
    this.#open.add(call);
    if (this.#inFlight < this.#bounds.maxInFlight) call.begin();
    else this.#waiting.add(call);
    return promise;
  }

  /** Ends every call with `KEY_UNAVAILABLE`, now. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const call of this.#open) call.fail(closed());
  }

  /** Keeps a place taken until the work ends, or for as long as work is believed in. */
  #occupy<Result>(work: Promise<Result>): Promise<Result> {
    this.#inFlight++;
    let held = true;
    const leave = () => {
      if (!held) return;
      held = false;
      patience[Symbol.dispose]();
      this.#inFlight--;
      if (this.#inFlight < this.#bounds.maxInFlight) this.#waiting.values().next().value?.begin();
    };
    const patience = this.#clock.schedule(PLACE_HELD_MS, leave);
    return work.finally(leave);
  }

  #end(call: Call, settle: () => void): void {
    if (!this.#open.delete(call)) return;
    this.#waiting.delete(call);
    call.timer[Symbol.dispose]();
    settle();
  }
}

interface Call {
  begin(): void;
  fail(error: AssayError): void;
  readonly timer: Disposable;
}

function closed(): AssayError {
  return new AssayError("KEY_UNAVAILABLE", "key manager is closed");
}

const PLACE_HELD_MS = 60_000;
