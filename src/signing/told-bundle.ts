import type { SpiffeBundle } from "../spiffe/bundle.ts";

/**
 * The own bundle as others are told it: its refresh hint is at most `longest()`, in seconds. The same object for the same bundle as
 * long as the hint stays.
 */
export function toldBundle(longest: () => number): (bundle: SpiffeBundle) => SpiffeBundle {
  let last: { readonly of: SpiffeBundle; readonly told: SpiffeBundle } | undefined;
  return (bundle) => {
    const refreshHint = Math.min(bundle.refreshHint, longest());
    if (refreshHint === bundle.refreshHint) return bundle;
    if (last?.of !== bundle || last.told.refreshHint !== refreshHint) {
      last = { of: bundle, told: { ...bundle, refreshHint } };
    }
    return last.told;
  };
}
