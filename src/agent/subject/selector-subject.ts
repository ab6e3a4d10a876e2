import { SELECTOR_LIMITS } from "../../attestation/checked-selectors.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { canonicalSelectors, formatSelector, type Selector, selectorOf } from "../../spiffe/selector.ts";
import type { HeldSubject } from "./process-subject.ts";

/**
 * The workload that has these selectors, on the word of the one who asks: whoever may ask so is trusted to have looked.
 * @throws AssayError `INVALID_SELECTOR` where one is malformed, `INVALID_REQUEST` where there are more than an attestor
 * may give.
 */
export function selectorSubject(
  named: readonly { readonly type: string; readonly value: string }[],
): HeldSubject {
  if (named.length > SELECTOR_LIMITS.count) {
    throw new AssayError("INVALID_REQUEST", `selectors must be at most ${SELECTOR_LIMITS.count}`);
  }
  const selectors: readonly Selector[] = canonicalSelectors(
    named.map(({ type, value }) => selectorOf(type, value)),
  );
  const reference = `selectors ${selectors.map(formatSelector).join(" ")}`;
  return {
    reference: reference.length > MAX_TEXT ? `${reference.slice(0, MAX_TEXT)}...` : reference,
    gone: new AbortController().signal,
    gather: async () => ({ selectors, answered: 1, faults: [] }),
    // What is only described is always there.
    requirePresent: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

// The record names all of them in a field of its own.
const MAX_TEXT = 200;
