import { AssayError } from "../errors/assay-error.ts";
import { firstAfter, type Ordered } from "./ordered-records.ts";

/** Which page of a list. */
export interface PageRequest {
  /** At most so many; 0 or nothing for the most there can be, 10,000. */
  readonly pageSize?: number | undefined;
  /** From the page before; empty or nothing for the first. */
  readonly pageToken?: string | undefined;
}

/** One page and the way to the next. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Empty where the page is not full. A full last page has one too; the page it leads to is empty. */
  readonly nextPageToken: string;
}

/**
 * One page of what passes `keeps`, in the order of the sorted list. A token names the last record seen, so that what
 * comes and goes meanwhile neither hides nor repeats a record that stays.
 * @throws AssayError `INVALID_PAGE_TOKEN`, `INVALID_REQUEST` for a size that is negative or no whole number.
 */
export function pageOf<T extends Ordered>(
  list: readonly T[],
  request: PageRequest,
  keeps: (record: T) => boolean,
): Page<T> {
  const size = pageSize(request.pageSize ?? 0);
  const items: T[] = [];
  for (let at = firstAfter(list, readToken(request.pageToken ?? "")); at < list.length; at++) {
    const record = list[at];
    if (record === undefined || !keeps(record)) continue;
    items.push(record);
    if (items.length === size) return { items, nextPageToken: writeToken(record.ordinal) };
  }
  return { items, nextPageToken: "" };
}

function pageSize(size: number): number {
  if (!Number.isInteger(size) || size < 0) {
    throw new AssayError("INVALID_REQUEST", "page size: expected a whole number that is not negative");
  }
  return size === 0 ? MAX_PAGE : Math.min(size, MAX_PAGE);
}

function writeToken(ordinal: number): string {
  return Buffer.from(`${PREFIX}${ordinal}`).toString("base64url");
}

function readToken(token: string): number {
  if (token === "") return 0;
  const text = Buffer.from(token.slice(0, MAX_TOKEN), "base64url").toString("latin1");
  const ordinal = Number(text.slice(PREFIX.length));
  // Written again it must be the same text: one spelling, and nothing that Number() takes by courtesy.
  if (Number.isSafeInteger(ordinal) && ordinal > 0 && writeToken(ordinal) === token) return ordinal;
  throw new AssayError("INVALID_PAGE_TOKEN", "page token: expected one that an earlier page gave");
}

const PREFIX = "after:";
const MAX_PAGE = 10_000;
const MAX_TOKEN = 64;
