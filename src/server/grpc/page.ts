import { AssayError } from "../../errors/assay-error.ts";

/** One page of a listing. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Asks for the page after this one; empty where there is none. */
  readonly nextPageToken: string;
}

/**
 * A page of items that are sorted by a key: those after the key in the token, which stays right while items come and
 * go. A page size of 0 means all.
 * @throws AssayError `INVALID_PAGE_TOKEN`, `INVALID_REQUEST` for a negative page size.
 */
export function pageOf<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  pageSize: number,
  pageToken: string,
): Page<Item> {
  if (pageSize < 0) throw new AssayError("INVALID_REQUEST", "page_size: expected 0 or more");
  const after = pageToken === "" ? undefined : tokenKey(pageToken);
  const rest = after === undefined ? items : items.filter((item) => keyOf(item) > after);
  if (pageSize === 0 || rest.length === 0) return { items: rest, nextPageToken: "" };
  const page = rest.slice(0, pageSize);
  const last = page.at(-1);
  // A full last page carries a token, too, and the page behind it is empty: that is how clients know it.
  const full = page.length === pageSize && last !== undefined;
  return { items: page, nextPageToken: full ? Buffer.from(keyOf(last)).toString("base64url") : "" };
}

function tokenKey(token: string): string {
  const bytes = Buffer.from(token, "base64url");
  if (token.length > MAX_TOKEN || bytes.toString("base64url") !== token) {
    throw new AssayError("INVALID_PAGE_TOKEN", "page_token: expected a token of an earlier page");
  }
  return bytes.toString("utf8");
}

const MAX_TOKEN = 512;
