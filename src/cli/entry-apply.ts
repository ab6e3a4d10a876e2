import { create } from "@bufbuild/protobuf";
import { AssayError } from "../errors/assay-error.ts";
import { Entry as EntryService } from "../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { type Entry, EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import { SelectorMatch_MatchBehavior } from "../proto/gen/spire/api/types/selector_pb.ts";
import type { RpcClient, ServiceClient } from "../rpc/client.ts";
import { type EntryOfFile, FILE_NAMES } from "./entry-file.ts";
import { type EntryDraft, type EntryFlags, entryFromFlags, maskOfFlags } from "./entry-flags.ts";
import { type EntryView, entryView } from "./entry-view.ts";
import { idText, itemFault } from "./wire-text.ts";

/** What became of one entry of an applied file. */
export interface AppliedEntry {
  /** As the file has it, else the server's; the template of an entry that a dry run would create without naming an ID. */
  readonly spiffe_id: string;
  /** Empty for an entry that a dry run would create. */
  readonly id: string;
  readonly outcome: "created" | "updated" | "unchanged";
}

/**
 * Makes entries be there: creates those that are missing, changes those that differ in anything that was said of them,
 * leaves the rest alone. An entry is recognised by its id, or by SPIFFE ID, parent, selectors and template.
 * @throws AssayError `USAGE` before anything is changed where one is malformed; `INVALID_ENTRY` naming the entry that the
 * server refused: those before it have been applied.
 */
export async function applyEntries(
  client: RpcClient,
  entries: readonly EntryOfFile[],
  dryRun: boolean,
): Promise<readonly AppliedEntry[]> {
  const service = client.service(EntryService);
  const wanted = entries.map((entry, index) => ({
    ...entry,
    message: within(entry, index, () => messageOf(entry)),
  }));
  const applied: AppliedEntry[] = [];
  for (const [index, entry] of wanted.entries()) {
    try {
      applied.push(await applyOne(service, entry, dryRun));
    } catch (error) {
      throw named(entry, index, error);
    }
  }
  return applied;
}

type EntryClient = ServiceClient<typeof EntryService>;
type WantedEntry = EntryOfFile & { readonly message: EntryDraft };

async function applyOne(service: EntryClient, wanted: WantedEntry, dryRun: boolean): Promise<AppliedEntry> {
  const { message, flags } = wanted;
  const existing = await existingEntry(service, message);
  if (existing === undefined) {
    if (dryRun) return { spiffe_id: nameOf(flags), id: wanted.id ?? "", outcome: "created" };
    const { results } = await service.batchCreateEntry({ entries: [message] });
    const { id, spiffeId } = checked(results[0]);
    return { spiffe_id: flags.spiffeId ?? idText(spiffeId), id, outcome: "created" };
  }
  const spiffe_id = flags.spiffeId ?? idText(existing.spiffeId);
  const changed = withAttributesOf(existing, wanted);
  if (sameAs(existing, changed, wanted.keys)) return { spiffe_id, id: existing.id, outcome: "unchanged" };
  if (!dryRun) {
    const entry = { ...changed, id: existing.id };
    const { results } = await service.batchUpdateEntry({ entries: [entry], inputMask: maskOfFlags(flags) });
    checked(results[0]);
  }
  return { spiffe_id, id: existing.id, outcome: "updated" };
}

async function existingEntry(service: EntryClient, wanted: EntryDraft): Promise<Entry | undefined> {
  if (wanted.id !== undefined) {
    try {
      return await service.getEntry({ id: wanted.id });
    } catch (error) {
      if (error instanceof AssayError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }
  const filter = {
    ...(wanted.spiffeId === undefined ? {} : { bySpiffeId: wanted.spiffeId }),
    ...(wanted.parentId === undefined ? {} : { byParentId: wanted.parentId }),
    bySelectors: {
      selectors: [...(wanted.selectors ?? [])],
      match: SelectorMatch_MatchBehavior.MATCH_EXACT,
    },
  };
  const template = wanted.assay?.idTemplate ?? "";
  let pageToken = "";
  do {
    const page = await service.listEntries({ filter, pageToken });
    const found = page.entries.find((entry) => (entry.assay?.idTemplate ?? "") === template);
    if (found !== undefined) return found;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return undefined;
}

/**
 * The mask has one bit for all attributes and one for what other servers do not know, so those of them that nobody spoke of are
 * taken from the entry as it is.
 */
export function withAttributesOf(
  existing: Entry,
  { message, flags }: { readonly message: EntryDraft; readonly flags: EntryFlags },
): EntryDraft {
  const { additionalAttributes: before, assay } = existing;
  return {
    ...message,
    additionalAttributes: {
      disableX509SvidPrefetch:
        flags.x509Prefetch === undefined ? (before?.disableX509SvidPrefetch ?? false) : !flags.x509Prefetch,
      jwtSvidIncludeJti: flags.includeJti ?? before?.jwtSvidIncludeJti ?? false,
    },
    ...(message.assay !== undefined && {
      assay: {
        idTemplate: flags.idTemplate ?? assay?.idTemplate ?? "",
        maxTaskDuration:
          flags.maxTaskDuration === undefined
            ? (assay?.maxTaskDuration ?? 0)
            : (message.assay.maxTaskDuration ?? 0),
        exchangeAudiences:
          flags.exchangeAudience === undefined
            ? (assay?.exchangeAudiences ?? [])
            : [...(message.assay.exchangeAudiences ?? [])],
        svidKeyType:
          flags.svidKeyType === undefined ? (assay?.svidKeyType ?? "") : (message.assay.svidKeyType ?? ""),
      },
    }),
  };
}

function nameOf({ spiffeId, idTemplate }: EntryFlags): string {
  return spiffeId ?? idTemplate ?? "";
}

function messageOf({ flags, id }: EntryOfFile): EntryDraft {
  return { ...entryFromFlags(flags, FILE_NAMES), ...(id === undefined ? {} : { id }) };
}

function sameAs(existing: Entry, wanted: EntryDraft, keys: readonly string[]): boolean {
  const said = (view: EntryView) =>
    JSON.stringify(
      keys.filter((key) => key !== "id").map((key) => (view as unknown as Record<string, unknown>)[key]),
    );
  return said(entryView(existing)) === said(entryView(create(EntrySchema, wanted)));
}

interface ItemResult {
  readonly status?: { readonly code: number; readonly message: string } | undefined;
  readonly entry?: Entry | undefined;
}

function checked(result: ItemResult | undefined): Entry {
  const fault = itemFault(result?.status);
  if (fault !== undefined || result?.entry === undefined)
    throw new AssayError("INVALID_ENTRY", fault ?? "the answer holds no entry");
  return result.entry;
}

function within<Value>(entry: EntryOfFile, index: number, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw named(entry, index, error);
  }
}

function named({ flags }: EntryOfFile, index: number, error: unknown): unknown {
  if (!(error instanceof AssayError)) return error;
  return new AssayError(error.code, `entries[${index}] (${nameOf(flags)}): ${error.detail}`, {
    cause: error,
  });
}
