/**
 * clock.ts — time as an argument. The only place that asks the machine what time it is.
 */

/** A source of time and of wake-ups. Everything that depends on time takes one as an argument. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Calls `callback` once after `milliseconds` (0 to 2^31−1; more is cut to that), unless disposed before.
   * Never keeps the process alive by itself.
   */
  schedule(milliseconds: number, callback: () => void): Disposable;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  schedule(milliseconds, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(milliseconds, 0), MAX_TIMEOUT));
    timer.unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Whole seconds since the Unix epoch, rounded down. */
export function unixSeconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}

/**
 * The time, in Unix seconds, for what cannot be undone such as forgetting: a clock that is set ahead takes it along by `step`
 * seconds a call at most, so that it can be set right again before harm is done. Never later than the clock.
 */
export function cautiousSeconds(clock: Clock, step: number): () => number {
  let last = unixSeconds(clock);
  return () => {
    last = Math.min(unixSeconds(clock), last + step);
    return last;
  };
}

const MAX_TIMEOUT = 2 ** 31 - 1;
