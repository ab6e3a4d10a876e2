import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type {
  SyncAuthorizedEntriesRequestSchema,
  SyncAuthorizedEntriesResponse,
} from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { Entry } from "../../proto/gen/spire/api/types/entry_pb.ts";
import type { BidiCall } from "../../rpc/client-call.ts";

/** The conversation by which entries are compared and fetched. */
export type SyncCall = BidiCall<
  MessageInitShape<typeof SyncAuthorizedEntriesRequestSchema>,
  SyncAuthorizedEntriesResponse
>;

/**
 * All entries the agent may hand out, by SPIRE's protocol: a server with few entries sends them in one message; one with
 * many sends their revisions in pages, is asked for those that are not known, and answers each question in pages again.
 * A stream that ends before its last page is a failed sync, never an empty one. `read` makes entries of messages.
 * @throws AssayError `SERVER_UNAVAILABLE` where the server ends the stream too early, or the call's own error.
 */
export async function readAuthorizedEntries(
  call: SyncCall,
  known: ReadonlyMap<string, WorkloadEntry>,
  read: (entries: readonly Entry[]) => readonly WorkloadEntry[],
): Promise<readonly WorkloadEntry[]> {
  const messages = call[Symbol.asyncIterator]();
  try {
    await call.send({});
    const first = await nextOf(messages);
    if (first.entryRevisions.length === 0 && !first.more) return read(first.entries);
    const revisions = [...first.entryRevisions];
    for (let page = first; page.more; ) {
      page = await nextOf(messages);
      revisions.push(...page.entryRevisions);
      if (revisions.length > MAX_ENTRIES) {
        throw new AssayError("MESSAGE_TOO_LARGE", `the server sent more than ${MAX_ENTRIES} entries`);
      }
    }
    const entries = new Map<string, WorkloadEntry>();
    const missing: string[] = [];
    for (const { id, revisionNumber, createdAt } of revisions) {
      const entry = known.get(id);
      if (entry?.revision === Number(revisionNumber) && entry.createdAt === Number(createdAt)) {
        entries.set(id, entry);
      } else missing.push(id);
    }
    for (let start = 0; start < missing.length; start += IDS_PER_REQUEST) {
      await call.send({ ids: missing.slice(start, start + IDS_PER_REQUEST) });
      for (let more = true; more; ) {
        const page = await nextOf(messages);
        for (const entry of read(page.entries)) entries.set(entry.id, entry);
        more = page.more;
      }
    }
    call.end();
    return [...entries.values()];
  } finally {
    await messages.return?.();
    call.cancel();
  }
}

async function nextOf(
  messages: AsyncIterator<SyncAuthorizedEntriesResponse>,
): Promise<SyncAuthorizedEntriesResponse> {
  const next = await messages.next();
  if (next.done === true)
    throw new AssayError("SERVER_UNAVAILABLE", "the server ended the sync before its end");
  return next.value;
}

const IDS_PER_REQUEST = 500;
const MAX_ENTRIES = 1_000_000;
