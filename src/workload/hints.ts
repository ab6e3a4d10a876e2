import { AssayError } from "../errors/assay-error.ts";
import { parseSpiffeId, type SpiffeId } from "../spiffe/id.ts";

/** Which of several identities is meant. The first of the list where nothing is said (Workload API §8). */
export interface Pick {
  /** The one with this SPIFFE ID. */
  readonly spiffeId?: string;
  /** The one with this hint. */
  readonly hint?: string;
}

/** SVIDs of which no two have the same hint but the empty one: the first of each stays (Workload API §5.2.1). */
export function withoutRepeatedHints<Svid extends { readonly hint: string }>(
  svids: readonly Svid[],
): readonly Svid[] {
  const seen = new Set<string>();
  return svids.filter(({ hint }) => {
    if (hint === "") return true;
    if (seen.has(hint)) return false;
    seen.add(hint);
    return true;
  });
}

/**
 * The first SVID that fits.
 * @throws AssayError `NO_IDENTITY_ISSUED` where none does, `INVALID_SPIFFE_ID` where the wanted ID is none.
 */
export function pickSvid<Svid extends { readonly hint: string; readonly spiffeId: SpiffeId }>(
  svids: readonly Svid[],
  { spiffeId, hint }: Pick,
): Svid {
  const wanted = spiffeId === undefined ? undefined : parseSpiffeId(spiffeId);
  const found = svids.find(
    (svid) =>
      (wanted === undefined || svid.spiffeId === wanted) && (hint === undefined || svid.hint === hint),
  );
  if (found !== undefined) return found;
  const which = [
    ...(wanted === undefined ? [] : [`the SPIFFE ID ${wanted}`]),
    ...(hint === undefined ? [] : [`the hint ${JSON.stringify(hint)}`]),
  ];
  throw new AssayError("NO_IDENTITY_ISSUED", `no identity issued with ${which.join(" and ")}`);
}
