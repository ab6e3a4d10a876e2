import { AssayError } from "../errors/assay-error.ts";

/**
 * One fact that attestation found, as `type:value`. The type is the attestor's name and holds no colon; the value
 * may hold anything but is never empty.
 */
export interface Selector {
  readonly type: string;
  readonly value: string;
}

/**
 * Parses `type:value`; everything after the first colon is the value.
 * @throws AssayError `INVALID_SELECTOR`.
 */
export function parseSelector(text: string): Selector {
  const colon = text.indexOf(":");
  if (colon < 0) throw new AssayError("INVALID_SELECTOR", "selector must be formatted as type:value");
  return selectorOf(text.slice(0, colon), text.slice(colon + 1));
}

/**
 * A selector from its two halves.
 * @throws AssayError `INVALID_SELECTOR` where the type is empty or holds a colon, the value is empty, or either is
 * longer than its bound (255 and 4096 bytes of UTF-8).
 */
export function selectorOf(type: string, value: string): Selector {
  if (type === "") throw new AssayError("INVALID_SELECTOR", "missing selector type");
  if (type.includes(":")) throw new AssayError("INVALID_SELECTOR", "selector type contains ':'");
  if (value === "") throw new AssayError("INVALID_SELECTOR", "missing selector value");
  if (!type.isWellFormed() || !value.isWellFormed()) {
    throw new AssayError("INVALID_SELECTOR", "selector is not well-formed Unicode");
  }
  if (Buffer.byteLength(type) > MAX_TYPE_BYTES) {
    throw new AssayError("INVALID_SELECTOR", `selector type is longer than ${MAX_TYPE_BYTES} bytes`);
  }
  if (Buffer.byteLength(value) > MAX_VALUE_BYTES) {
    throw new AssayError("INVALID_SELECTOR", `selector value is longer than ${MAX_VALUE_BYTES} bytes`);
  }
  return { type, value };
}

/** The selector as `type:value`. Two selectors are equal exactly if these texts are, as a type has no colon. */
export function formatSelector(selector: Selector): string {
  return `${selector.type}:${selector.value}`;
}

/** The selectors sorted by type and value, each once. */
export function canonicalSelectors(selectors: readonly Selector[]): readonly Selector[] {
  const byText = new Map(selectors.map((selector) => [formatSelector(selector), selector]));
  return [...byText.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, selector]) => selector);
}

const MAX_TYPE_BYTES = 255;
const MAX_VALUE_BYTES = 4096;
