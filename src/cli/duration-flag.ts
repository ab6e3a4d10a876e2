import { parseDuration } from "../config/units.ts";
import { AssayError } from "../errors/assay-error.ts";

/**
 * Milliseconds of a duration that somebody typed; `name` is the flag or key it was typed at.
 * @throws AssayError `USAGE`.
 */
export function durationOf(text: string, name: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    throw new AssayError(
      "USAGE",
      `${name}: expected a duration such as 90s or 1h30m, got ${JSON.stringify(text)}`,
    );
  }
  return milliseconds;
}

/** Seconds of a duration that somebody typed. @throws AssayError `USAGE` where it is none, or not whole seconds. */
export function secondsOf(text: string, name: string): number {
  const milliseconds = durationOf(text, name);
  if (milliseconds % 1000 !== 0)
    throw new AssayError("USAGE", `${name}: expected whole seconds, got ${text}`);
  return milliseconds / 1000;
}
