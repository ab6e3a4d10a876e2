import { AssayError } from "../errors/assay-error.ts";

/** A place in a list as callers carry it from page to page: from which ordinal on, and in which direction. */
export function writePageToken(direction: PageDirection, ordinal: number): string {
  return Buffer.from(`${direction}:${ordinal}`).toString("base64url");
}

/**
 * The ordinal of a token that `writePageToken` gave for a list of this direction; 0 for an empty one.
 * @throws AssayError `INVALID_PAGE_TOKEN`.
 */
export function readPageToken(direction: PageDirection, token: string): number {
  if (token === "") return 0;
  const text = Buffer.from(token.slice(0, MAX_TOKEN), "base64url").toString("latin1");
  const ordinal = Number(text.slice(direction.length + 1));
  // Written again it must be the same text: one spelling, and nothing that Number() takes by courtesy.
  if (Number.isSafeInteger(ordinal) && ordinal > 0 && writePageToken(direction, ordinal) === token)
    return ordinal;
  throw new AssayError("INVALID_PAGE_TOKEN", "page token: expected one that an earlier page gave");
}

/** Whether a list goes on after an ordinal, oldest first, or before one, newest first. */
export type PageDirection = "after" | "before";

const MAX_TOKEN = 64;
