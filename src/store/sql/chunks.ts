import { AssayError } from "../../errors/assay-error.ts";

/** The items in runs of at most `size`, so that no statement outgrows a database's bound on parameters. */
export function* chunksOf<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}

/** The largest number of keys in one `in (…)`. */
export const KEYS_PER_STATEMENT = 500;

/**
 * Checks a page's size.
 * @throws AssayError `INVALID_REQUEST` unless it is a whole number from 1 to 10,000.
 */
export function pageLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return limit;
  throw new AssayError("INVALID_REQUEST", `limit must lie between 1 and ${MAX_PAGE}`);
}

/** The records in the order of the keys; keys without a record are left out. */
export function inOrderOf<K, T>(keys: readonly K[], records: ReadonlyMap<K, T>): readonly T[] {
  return keys.flatMap((key) => records.get(key) ?? []);
}

const MAX_PAGE = 10_000;
