import { AssayError } from "../errors/assay-error.ts";
import { canonicalSelectors, formatSelector, type Selector, selectorOf } from "../spiffe/selector.ts";

/** How much one attestor may say about one node or workload. */
export const SELECTOR_LIMITS = { count: 1000, bytes: 65_536 } as const;

/**
 * The selectors of one attestor in canonical form: sorted, each once, every one well-formed and of the attestor's own
 * type. An attestor that breaks a rule gets nothing rather than a part, as a part could earn what the whole does not.
 * @throws AssayError `INTERNAL` naming the attestor and the rule.
 */
export function checkedSelectors(selectors: readonly Selector[], attestor: string): readonly Selector[] {
  const fail = (detail: string, cause?: unknown): never => {
    throw new AssayError("INTERNAL", `attestor ${attestor} ${detail}`, { cause });
  };
  const list: unknown = selectors;
  if (!Array.isArray(list)) return fail("gave no list of selectors");
  if (selectors.length > SELECTOR_LIMITS.count) fail(`gave more than ${SELECTOR_LIMITS.count} selectors`);
  let bytes = 0;
  const clean = selectors.map((selector) => {
    if (typeof selector?.type !== "string" || typeof selector.value !== "string")
      return fail("gave no selector");
    if (selector.type !== attestor) fail(`gave a selector of the type ${JSON.stringify(selector.type)}`);
    bytes += Buffer.byteLength(formatSelector(selector));
    if (bytes > SELECTOR_LIMITS.bytes) fail(`gave more than ${SELECTOR_LIMITS.bytes} bytes of selectors`);
    try {
      return selectorOf(selector.type, selector.value);
    } catch (cause) {
      return fail("gave a malformed selector", cause);
    }
  });
  return canonicalSelectors(clean);
}
