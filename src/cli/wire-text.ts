import type { SPIFFEID } from "../proto/gen/spire/api/types/spiffeid_pb.ts";
import { parseSpiffeId, pathOf, trustDomainOf } from "../spiffe/id.ts";
import { parseSelector, type Selector } from "../spiffe/selector.ts";

/** A SPIFFE ID of the wire as text. */
export function idText(id: SPIFFEID | undefined): string {
  return id === undefined ? "" : `spiffe://${id.trustDomain}${id.path}`;
}

/** A SPIFFE ID given on the command line for the wire. @throws AssayError `INVALID_SPIFFE_ID`. */
export function wireId(text: string): { trustDomain: string; path: string } {
  const id = parseSpiffeId(text);
  return { trustDomain: trustDomainOf(id), path: pathOf(id) };
}

/** Selectors given on the command line for the wire. @throws AssayError `INVALID_SELECTOR`. */
export function wireSelectors(texts: readonly string[]): { type: string; value: string }[] {
  return texts.map((text) => ({ ...parseSelector(text) }));
}

/** Selectors of the wire as text. */
export function selectorTexts(selectors: readonly Selector[]): readonly string[] {
  return selectors.map(({ type, value }) => `${type}:${value}`);
}

/** An item of a batch that failed, as a line for people; `undefined` for one that did not. */
export function itemFault(
  status: { readonly code: number; readonly message: string } | undefined,
): string | undefined {
  if (status === undefined || status.code === 0) return undefined;
  return `${STATUS_NAMES[status.code] ?? status.code}: ${status.message}`;
}

const STATUS_NAMES: Readonly<Record<number, string>> = {
  3: "invalid argument",
  5: "not found",
  6: "already exists",
  7: "permission denied",
  8: "resource exhausted",
  9: "failed precondition",
  10: "aborted",
  13: "internal",
  14: "unavailable",
};
