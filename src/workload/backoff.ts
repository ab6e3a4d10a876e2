/** How pauses between attempts grow, in milliseconds. */
export interface Backoff {
  readonly first: number;
  readonly longest: number;
}

/**
 * The pause after so many failures in a row (1 or more), in milliseconds: twice as long each time up to the longest, less
 * up to a half by chance, so that a thousand clients that lost one agent do not return together.
 * @param random A number from 0 up to but not including 1.
 */
export function pauseAfter(failures: number, { first, longest }: Backoff, random: () => number): number {
  const whole = Math.min(longest, first * 2 ** Math.min(failures - 1, MAX_DOUBLINGS));
  return Math.round(whole * (1 - random() / 2));
}

const MAX_DOUBLINGS = 30;
