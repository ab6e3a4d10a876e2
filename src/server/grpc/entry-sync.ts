import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type {
  SyncAuthorizedEntriesRequest,
  SyncAuthorizedEntriesResponseSchema,
} from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { EntryRecord } from "../../store/records.ts";
import { agentEntryToWire } from "../../wire/entry.ts";

type Answer = MessageInitShape<typeof SyncAuthorizedEntriesResponseSchema>;

/** How many entries or revisions one message of the conversation holds at most. */
export const SYNC_PAGE_SIZE = 500;

/**
 * The conversation of `Entry.SyncAuthorizedEntries`, as agents that poll have it. Few entries come whole in one
 * message, which is sent even when it is empty, for a bare end means failure to them. Many come as pages of ids and
 * revisions first; then each request names the ids wanted and is answered by at least one message, unknown ids being
 * left out. Only the first request's mask counts.
 * @throws AssayError `INVALID_REQUEST` for a mask without the revision or ids in the first request.
 */
export async function* syncAuthorizedEntries(
  requests: AsyncIterable<SyncAuthorizedEntriesRequest>,
  authorized: () => readonly EntryRecord[],
): AsyncGenerator<Answer, void, undefined> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true) return;
  const { outputMask, ids } = first.value;
  if (ids.length > 0)
    throw new AssayError("INVALID_REQUEST", "specifying IDs on initial request is not supported");
  if (outputMask !== undefined && !outputMask.revisionNumber) {
    throw new AssayError("INVALID_REQUEST", "revision number cannot be masked");
  }

  const entries = authorized();
  if (entries.length <= SYNC_PAGE_SIZE) {
    yield { entries: entries.map((entry) => agentEntryToWire(entry, outputMask)) };
    return;
  }

  for (const page of pages(entries)) {
    yield {
      entryRevisions: page.items.map(({ id, revision, createdAt }) => {
        return { id, revisionNumber: BigInt(revision), createdAt: BigInt(createdAt) };
      }),
      more: page.more,
    };
  }
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  for (let next = await incoming.next(); next.done !== true; next = await incoming.next()) {
    const wanted = next.value.ids.flatMap((id) => byId.get(id) ?? []);
    for (const page of pages(wanted)) {
      yield { entries: page.items.map((entry) => agentEntryToWire(entry, outputMask)), more: page.more };
    }
  }
}

function* pages<Item>(
  items: readonly Item[],
): Generator<{ readonly items: readonly Item[]; readonly more: boolean }> {
  let start = 0;
  do {
    const end = Math.min(start + SYNC_PAGE_SIZE, items.length);
    yield { items: items.slice(start, end), more: end < items.length };
    start = end;
  } while (start < items.length);
}
