import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import { parseSelector, type Selector } from "../../spiffe/selector.ts";

/** A SPIFFE ID in a request: a bounded string; what it must look like is said by the parser, with its own code. */
export const spiffeIdText = z
  .string()
  .min(1)
  .max(2048)
  .describe("SPIFFE ID, `spiffe://trust-domain/path` (SPIFFE-ID §2)");

/** A trust domain in a request. */
export const trustDomainText = z
  .string()
  .min(1)
  .max(264)
  .describe("Trust domain, by name (`example.org`) or as SPIFFE ID (`spiffe://example.org`)");

/** A selector in a request. */
export const selectorText = z
  .string()
  .min(1)
  .max(4352)
  .describe("Selector, `type:value`, e.g. `unix:uid:1000`");

/** A time in a request: RFC 3339 with a zone, at most until the year 9999; becomes Unix seconds, rounded down. */
export const timeInput = z.iso
  .datetime({ offset: true })
  .max(40)
  .transform((text, context) => {
    const seconds = Math.floor(Date.parse(text) / 1000);
    if (seconds < 0 || seconds > MAX_UNIX_SECONDS) {
      context.addIssue("expected a time from 1970 to 9999");
      return z.NEVER;
    }
    return seconds;
  })
  .describe("Time, RFC 3339 with a zone, e.g. `2027-01-31T12:00:00Z`");

/** A time in an answer. */
export const timeOutput = z.string().describe("Time, RFC 3339 in UTC");

/** A time for an answer, from Unix seconds. */
export function timeText(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString().replace(/\.000Z$/, "Z");
}

/** A time for an answer, or `null` where 0 means that there is none. */
export function timeTextOrNull(unixSeconds: number): string | null {
  return unixSeconds === 0 ? null : timeText(unixSeconds);
}

/**
 * A duration in a request: whole seconds, or text with units in falling order such as `1h`, `90s` or `1h30m`; becomes
 * seconds. Answers give durations in seconds.
 */
export function durationInput(bounds: { readonly min: number; readonly max: number }) {
  return z
    .union([z.int(), z.string().max(32).regex(DURATION, "expected a duration such as 30m, 1h30m or 90s")])
    .transform((value, context) => {
      const seconds = typeof value === "number" ? value : durationSeconds(value);
      if (seconds < bounds.min || seconds > bounds.max) {
        context.addIssue(`expected a duration from ${bounds.min} to ${bounds.max} seconds`);
        return z.NEVER;
      }
      return seconds;
    })
    .describe(
      `Duration from ${bounds.min} to ${bounds.max} seconds: whole seconds, or text with units \`d h m s\`, e.g. \`1h30m\``,
    );
}

/** A yes or no in a query. */
export const booleanQuery = z.enum(["true", "false"]).transform((text) => text === "true");

/** A query parameter that may be repeated. */
export function repeatable<Item extends z.ZodType<unknown, string>>(item: Item, most: number) {
  return z.preprocess(
    (value) => (typeof value === "string" ? [value] : value),
    z.array(item).min(1).max(most).optional(),
  );
}

/**
 * Parses the selectors of a request.
 * @param pointer JSON Pointer of the list, for the error.
 * @throws AssayError `INVALID_SELECTOR` naming the first that is malformed.
 */
export function selectorsFrom(texts: readonly string[], pointer: string): readonly Selector[] {
  return texts.map((text, index) => {
    try {
      return parseSelector(text);
    } catch (error) {
      throw pointed(error, `${pointer}/${index}`);
    }
  });
}

/** The same error with the place in the request in front, where it is one of ours. */
function pointed(error: unknown, pointer: string): unknown {
  if (!(error instanceof AssayError)) return error;
  return new AssayError(error.code, `${pointer}: ${error.detail}`, { cause: error });
}

function durationSeconds(text: string): number {
  const [, days = "0", hours = "0", minutes = "0", seconds = "0"] = DURATION.exec(text) ?? [];
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
}

/** The longest lifetime that can be written: what a 32-bit number of seconds holds, as on the wire. */
export const MAX_DURATION_SECONDS = 2 ** 31 - 1;
const DURATION = /^(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,10})s)?$/;
const MAX_UNIX_SECONDS = 253_402_300_799;
