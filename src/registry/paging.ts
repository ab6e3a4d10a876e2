import { readPageToken, writePageToken } from "./page-token.ts";
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
  for (let at = firstAfter(list, readPageToken("after", request.pageToken ?? "")); at < list.length; at++) {
    const record = list[at];
    if (record === undefined || !keeps(record)) continue;
    items.push(record);
    if (items.length === size) return { items, nextPageToken: writePageToken("after", record.ordinal) };
  }
  return { items, nextPageToken: "" };
}

function pageSize(size: number): number {
  if (!Number.isInteger(size) || size < 0) {
    throw new AssayError("INVALID_REQUEST", "page size: expected a whole number that is not negative");
  }
  return size === 0 ? MAX_PAGE : Math.min(size, MAX_PAGE);
}

const MAX_PAGE = 10_000;
