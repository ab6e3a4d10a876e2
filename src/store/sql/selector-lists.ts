import { formatSelector, type Selector } from "../../spiffe/selector.ts";

/** Selectors as a JSON list of `type:value`. */
export function writeSelectors(selectors: readonly Selector[]): string {
  return JSON.stringify(selectors.map(formatSelector));
}

/** Selectors from a JSON list of `type:value` that `writeSelectors` made. */
export function readSelectors(text: string): readonly Selector[] {
  return (JSON.parse(text) as string[]).map((selector) => {
    const colon = selector.indexOf(":");
    return { type: selector.slice(0, colon), value: selector.slice(colon + 1) };
  });
}
