import type { AuthorityRecord } from "../store/records.ts";

/** What an authority's life asks for: nothing, a successor, or the change to it. */
export type RotationStep = "nothing" | "prepare" | "activate";

/**
 * The step that is due for an active authority at `now`, Unix seconds: a successor is prepared in the second half of
 * its life, at most 30 days before its end, and signs in the last sixth, at most 7 days before it. It signs at once
 * where the active one will have ended before anybody looks again, or has not begun.
 * @param refreshHint Seconds that others were told to wait at most between two looks at the bundle.
 */
export function dueStep(
  active: Life,
  prepared: Pick<AuthorityRecord, "changedAt"> | undefined,
  now: number,
  refreshHint: number,
): RotationStep {
  const lifetime = active.notAfter - active.notBefore;
  const left = active.notAfter - now;
  if (isAhead(active, now)) return "activate";
  // Seconds are rounded and timers late, so the next look may be a second or two later than planned.
  if (left <= Math.ceil(upkeepSeconds([active])) + LATE_SECONDS) return "activate";
  if (left >= Math.min(lifetime / 2, MAX_PREPARE_SECONDS)) return "nothing";
  if (left >= Math.min(lifetime / 6, MAX_ACTIVATE_SECONDS) || prepared === undefined) return "prepare";
  // A successor that a late start has only just published is not used before agents had time to learn of it.
  return now - prepared.changedAt >= successorLead(lifetime, refreshHint) ? "activate" : "prepare";
}

/**
 * For how long others have to know a successor before it signs where it was not prepared in time, in seconds, given its
 * predecessor's lifetime: until whoever has the bundle has asked for it again.
 * @param refreshHint Seconds that they were told to wait at most.
 */
export function successorLead(lifetime: number, refreshHint: number): number {
  const asked = Math.min(refreshHint, longestHintFor(lifetime)) * ASKING_TAKES;
  return Math.max(Math.min(lifetime / 24, MAX_LEAD_SECONDS), asked);
}

/**
 * How long others may be told to wait between two looks at the bundle, in whole seconds from 1, given the lives of the authorities
 * that sign or will: three looks fit into the time for which a successor is published before it signs (SPIFFE Federation §4.1).
 */
export function longestRefreshHint(lives: readonly Life[]): number {
  const shortest = Math.min(...lives.map(({ notBefore, notAfter }) => notAfter - notBefore), MAX_HINT_LIFE);
  return Math.max(1, Math.floor(longestHintFor(shortest)));
}

function longestHintFor(lifetime: number): number {
  const published =
    Math.min(lifetime / 2, MAX_PREPARE_SECONDS) - Math.min(lifetime / 6, MAX_ACTIVATE_SECONDS);
  return published / LOOKS_BEFORE_USE;
}

/**
 * How long to wait before what failed is tried again, in seconds from 1 to 300: longer each time, and always often enough that
 * there are several attempts before the active authority ends.
 * @param failures How often it has failed in a row, at least 1.
 * @param left Seconds that the active authority still lives, 0 without one.
 */
export function retryAfter(failures: number, left: number): number {
  const growing = FIRST_RETRY_SECONDS * 2 ** Math.min(failures - 1, 10);
  return Math.max(1, Math.min(growing, left / 8, MAX_RETRY_SECONDS));
}

/**
 * Whether a successor that was prepared some time ago will do for the step that is due. One that waits and is in its own last
 * sixth will not, as where lives were made shorter after the active authority began its own; but one that must sign now
 * is better than one that nobody has heard of, if only it lasts until somebody looks again.
 */
export function willDo(successor: Life, due: RotationStep, now: number): boolean {
  const left = successor.notAfter - now;
  if (isAhead(successor, now)) return false;
  if (due === "activate") return left > Math.ceil(upkeepSeconds([successor])) + LATE_SECONDS;
  return left >= Math.min((successor.notAfter - successor.notBefore) / 6, MAX_ACTIVATE_SECONDS);
}

/**
 * Whether a successor has waited for so long, as one that an operator prepared early, that it would be in the second half of its own
 * life when its turn comes: it and the next one would then be used though hardly anybody knew them. A new one in its place,
 * while there is time to publish it, has both halves.
 */
export function isStale(successor: Life, active: Life, now: number): boolean {
  const turn = active.notAfter - Math.min((active.notAfter - active.notBefore) / 6, MAX_ACTIVATE_SECONDS);
  const lifetime = successor.notAfter - successor.notBefore;
  const half = Math.min(lifetime / 2, MAX_PREPARE_SECONDS);
  return now < turn && successor.notAfter - turn < half && now + lifetime - turn >= half;
}

/**
 * Whether an authority begins later than in a minute: it was made while the clock was ahead, and what it signs now is good for
 * nobody. What a clock that is set right moves by seconds is not worth an authority that nobody has heard of.
 */
export function isAhead({ notBefore }: Pick<AuthorityRecord, "notBefore">, now: number): boolean {
  return notBefore > now + AHEAD_SECONDS;
}

/**
 * How long to wait between looks at authorities with these lives, in seconds from 1 to 10: several fit into the last
 * sixth of the shortest life, so that none of them ends between two looks.
 */
export function upkeepSeconds(lives: readonly Life[]): number {
  const shortest = Math.min(...lives.map(({ notBefore, notAfter }) => notAfter - notBefore));
  return Math.max(1, Math.min(shortest / 24, MAX_UPKEEP_SECONDS));
}

/** From when to when an authority is valid, Unix seconds. */
type Life = Pick<AuthorityRecord, "notBefore" | "notAfter">;

const DAY = 86_400;
const MAX_PREPARE_SECONDS = 30 * DAY;
const MAX_ACTIVATE_SECONDS = 7 * DAY;
const MAX_LEAD_SECONDS = 600;
const LOOKS_BEFORE_USE = 3;
/** A look that fails is made again at once, and none is made faster than others answer. */
const ASKING_TAKES = 1.2;
// Longer lives allow no longer hint.
const MAX_HINT_LIFE = 60 * DAY;
const MAX_UPKEEP_SECONDS = 10;
const LATE_SECONDS = 2;
const AHEAD_SECONDS = 60;
const FIRST_RETRY_SECONDS = 5;
const MAX_RETRY_SECONDS = 300;
