import { AssayError } from "../errors/assay-error.ts";
import type { SPIFFEID } from "../proto/gen/spire/api/types/spiffeid_pb.ts";
import { parseSpiffeId, pathOf, type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import { parseSelector, type Selector } from "../spiffe/selector.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../spiffe/trust-domain.ts";

/** A SPIFFE ID of the wire as text. */
export function idText(id: Pick<SPIFFEID, "trustDomain" | "path"> | undefined): string {
  return id === undefined ? "" : `spiffe://${id.trustDomain}${id.path}`;
}

/** A SPIFFE ID that somebody typed, for the wire; `name` is the flag or key it was typed at. @throws AssayError `USAGE`. */
export function wireId(text: string, name: string): { trustDomain: string; path: string } {
  const id = typedSpiffeId(text, name);
  return { trustDomain: trustDomainOf(id), path: pathOf(id) };
}

/** A SPIFFE ID that somebody typed. @throws AssayError `USAGE` naming the flag or key. */
export function typedSpiffeId(text: string, name: string): SpiffeId {
  return typed(text, name, parseSpiffeId);
}

/** Selectors that somebody typed, for the wire. @throws AssayError `USAGE`. */
export function wireSelectors(texts: readonly string[], name: string): { type: string; value: string }[] {
  return texts.map((text) => ({ ...typed(text, name, parseSelector) }));
}

/** A trust domain that somebody typed, by its name or its SPIFFE ID. @throws AssayError `USAGE`. */
export function typedTrustDomain(text: string, name: string): TrustDomain {
  return typed(text, name, parseTrustDomainOrId);
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

function typed<Value>(text: string, name: string, parse: (text: string) => Value): Value {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError(
      "USAGE",
      `${name}: ${error.detail}, got ${JSON.stringify(text.slice(0, MAX_SHOWN))}`,
      {
        cause: error,
      },
    );
  }
}

const MAX_SHOWN = 200;
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
