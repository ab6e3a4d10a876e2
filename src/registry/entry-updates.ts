import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { EntryContent, EntryRecord } from "../store/records.ts";
import type { EntryStore, EntryUpdate, EntryUpdateOutcome } from "../store/store.ts";
import type { Directory } from "./directory.ts";
import { unknownBundle } from "./entry-faults.ts";
import { type EntryDraft, validateEntry } from "./entry-rules.ts";

/** A field of an entry that an update may set. */
export type EntryField = keyof EntryContent;

/** A change of one entry. */
export interface EntryUpdateDraft {
  readonly id: string;
  /** The new values; what it leaves out is set to its default if the mask names it. */
  readonly draft: Partial<EntryDraft>;
  /** Which fields to set; all of them where it is left out, none where it is empty. */
  readonly mask?: ReadonlySet<EntryField> | undefined;
  /** Only if the entry still has this revision. */
  readonly revision?: number | undefined;
}

/** What became of one update. */
export type EntryUpdateResult =
  | { readonly outcome: "updated" | "similar" | "stale"; readonly entry: EntryRecord }
  | { readonly outcome: "absent" }
  | { readonly outcome: "invalid"; readonly error: AssayError };

/**
 * Changes entries in order, in one transaction unless one entry is named twice. A masked update builds on the entry as this server knows it; where
 * another one was quicker, it is built again on what that one left.
 */
export async function updateEntries(
  store: EntryStore,
  directory: Directory,
  updates: readonly EntryUpdateDraft[],
  catchUp: () => Promise<void>,
): Promise<readonly EntryUpdateResult[]> {
  const results = new Map<number, EntryUpdateResult>();
  let open = updates.map((_, n) => n);
  for (let attempt = 0; open.length > 0; attempt++) {
    const ready: { readonly n: number; readonly update: EntryUpdate }[] = [];
    const later: number[] = [];
    const taken = new Set<string>();
    for (const n of open) {
      const update = updates[n];
      if (update === undefined) continue;
      // A second update of one entry builds on the first, so it waits for it.
      if (taken.has(update.id)) later.push(n);
      else {
        taken.add(update.id);
        const built = builtUpdate(directory, update);
        if ("outcome" in built) results.set(n, built);
        else ready.push({ n, update: built });
      }
    }
    const outcomes = ready.length === 0 ? [] : await store.update(ready.map(({ update }) => update));
    for (const [at, { n }] of ready.entries()) {
      const outcome = outcomes[at];
      const retry = outcome?.outcome === "stale" && updates[n]?.revision === undefined && attempt < ATTEMPTS;
      if (retry) later.push(n);
      else results.set(n, updateResult(outcome));
    }
    open = later.toSorted((a, b) => a - b);
    if (open.length > 0) await catchUp();
  }
  return updates.map((_, n) => results.get(n) ?? { outcome: "absent" });
}

function builtUpdate(directory: Directory, update: EntryUpdateDraft): EntryUpdate | EntryUpdateResult {
  const { id, mask } = update;
  const current = directory.entries.get(id);
  if (current === undefined) return { outcome: "absent" };
  try {
    const values: Record<string, unknown> = mask === undefined ? { ...BLANK } : { ...current };
    for (const field of mask ?? FIELDS) values[field] = update.draft[field] ?? BLANK[field];
    // Of an entry with a template the ID follows the template.
    if (mask?.has("idTemplate") === true && !mask.has("spiffeId") && values["idTemplate"] !== "") {
      values["spiffeId"] = "";
    }
    const content = validateEntry(values as unknown as EntryDraft, directory.trustDomain);
    return { id, content, revision: update.revision ?? current.revision };
  } catch (error) {
    return { outcome: "invalid", error: toAssayError(error) };
  }
}

function updateResult(outcome: EntryUpdateOutcome | undefined): EntryUpdateResult {
  if (outcome === undefined) throw new AssayError("INTERNAL", "the store left out an outcome");
  if (outcome.outcome !== "unknownBundle") return outcome;
  return { outcome: "invalid", error: unknownBundle(outcome.trustDomain) };
}

// What a field has that is named but not given. The two IDs and the selectors have no legal default: the rules say so.
const BLANK: Readonly<Record<EntryField, unknown>> = {
  spiffeId: "",
  parentId: "",
  selectors: [],
  x509SvidTtl: 0,
  jwtSvidTtl: 0,
  federatesWith: [],
  admin: false,
  downstream: false,
  storeSvid: false,
  expiresAt: 0,
  dnsNames: [],
  hint: "",
  disableX509SvidPrefetch: false,
  jwtSvidIncludeJti: false,
  idTemplate: "",
  maxTaskDuration: 0,
  exchangeAudiences: [],
  svidKeyType: "",
};
const FIELDS = Object.keys(BLANK) as readonly EntryField[];
const ATTEMPTS = 10;
