import { randomInt } from "node:crypto";

/** A number in [0, 1), drawn anew at each call. */
export type Spread = () => number;

/** The spread of production. */
export const randomSpread: Spread = () => randomInt(SPREAD_STEPS) / SPREAD_STEPS;

/**
 * When something that was received now and ends later is to be replaced: half of the time that is left, with a spread of
 * a tenth to either side so that what was issued together is not renewed together. Unix milliseconds throughout.
 *
 * What is left counts, not the written lifetime: certificates are dated back, and half of a back-dated short life can lie
 * in the past.
 *
 * What begins later than in a minute was signed by a clock that was ahead, and is good for nobody who has the time: it is asked for
 * again in five minutes, however late it ends.
 */
export function replaceAt(
  receivedAt: number,
  endsAt: number,
  spread: Spread,
  beginsAt: number = receivedAt,
): number {
  const left = Math.max(0, endsAt - receivedAt);
  const at = receivedAt + left - (left / 2) * (0.9 + spread() * 0.2);
  return beginsAt > receivedAt + AHEAD ? Math.min(at, receivedAt + ASK_AGAIN) : at;
}

/**
 * Milliseconds to wait before a further attempt: grows by half with each failure from `first` to `most`, and is drawn
 * from the upper half of that, so that many agents do not come back at once. `failures` counts from 1.
 */
export function retryDelay(failures: number, first: number, most: number, spread: Spread): number {
  const full = Math.min(most, first * 1.5 ** Math.min(failures - 1, 64));
  return full * (0.5 + spread() * 0.5);
}

const SPREAD_STEPS = 2 ** 32;
const AHEAD = 60_000;
const ASK_AGAIN = 300_000;
