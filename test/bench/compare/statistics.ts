/** A figure over several rounds. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** The median of figures and the two furthest from it. Throws where there is none. */
export function spread(figures: readonly number[]): Spread {
  const sorted = figures.toSorted((a, b) => a - b);
  const [least, most] = [sorted[0], sorted.at(-1)];
  if (least === undefined || most === undefined) throw new Error("there is no figure");
  const upper = sorted[Math.floor(sorted.length / 2)] ?? most;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? least;
  return { median: (lower + upper) / 2, least, most };
}

/** How often in a second several steps can be done one after the other, from how often each can. */
export function inTurn(...perSecond: readonly number[]): number {
  return 1 / perSecond.reduce((sum, rate) => sum + 1 / rate, 0);
}

/** A number as a person reads it: three digits that count, thousands apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const digits = value === 0 ? 1 : Math.floor(Math.log10(Math.abs(value))) + 1;
  const rounded = value.toFixed(Math.min(3, Math.max(0, 3 - digits)));
  return digits > 4 ? Number(rounded).toLocaleString("en-US") : rounded;
}

/** A spread as `median (least–most)`, or as one figure where there is no more. */
export function range({ median, least, most }: Spread): string {
  if (least === most) return figure(median);
  return `${figure(median)} (${figure(least)}–${figure(most)})`;
}
