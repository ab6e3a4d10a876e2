import { z } from "zod";
import type { Page, PageRequest } from "../../registry/paging.ts";
import type { SetMatch } from "../../registry/set-match.ts";
import type { Selector } from "../../spiffe/selector.ts";
import { booleanQuery, repeatable, selectorsFrom, selectorText } from "./json-values.ts";

/** Query parameters of every listing. */
export const pageQuery = {
  page_size: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(100)
    .describe("How many at most, 1 to 1000; 100 unless said otherwise"),
  page_token: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe("`next_page_token` of the page before; with the same filters"),
};

/** Query parameters that filter by selectors. */
export const selectorQuery = {
  selector: repeatable(selectorText, 100).describe("Selector, `type:value`; may be repeated"),
  selector_match: listMatch("selectors"),
};

/** A query parameter that says how a list is compared. */
export function listMatch(what: string) {
  return z
    .enum(["exact", "subset", "superset", "any"])
    .default("superset")
    .describe(
      `How the ${what} are compared: \`exact\`ly these, some of these and no other (\`subset\`), these and perhaps more (\`superset\`), or \`any\` of them`,
    );
}

/** A yes or no in a filter. */
export const flagQuery = booleanQuery.optional();

/** The page that a query asks for. */
export function pageRequestOf(query: {
  readonly page_size: number;
  readonly page_token?: string | undefined;
}): PageRequest {
  return { pageSize: query.page_size, pageToken: query.page_token };
}

/** The filter by selectors of a query, where it has one. @throws AssayError `INVALID_SELECTOR`. */
export function selectorFilterOf(query: {
  readonly selector?: readonly string[] | undefined;
  readonly selector_match: SetMatch;
}): { readonly selectors: readonly Selector[]; readonly match: SetMatch } | undefined {
  if (query.selector === undefined) return undefined;
  return { selectors: selectorsFrom(query.selector, "/selector"), match: query.selector_match };
}

/** The member of an answer that leads to the next page, where there is one. */
export function nextPage({ nextPageToken }: Page<unknown>): { readonly next_page_token?: string } {
  return nextPageToken === "" ? {} : { next_page_token: nextPageToken };
}

/** That member's schema. */
export const nextPageToken = z
  .string()
  .optional()
  .describe("Leads to the next page; absent on the last one. A page it leads to may be empty");
