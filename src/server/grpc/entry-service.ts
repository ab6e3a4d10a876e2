import { AssayError } from "../../errors/assay-error.ts";
import {
  type CountEntriesRequest_Filter,
  Entry,
  type ListEntriesRequest_Filter,
} from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { EntryMask } from "../../proto/gen/spire/api/types/entry_pb.ts";
import type { EntryRegistry } from "../../registry/entries.ts";
import type { EntryFilter } from "../../registry/entry-filter.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { agentOf, type ServerCall } from "../call.ts";
import type { EntryOutcome } from "../operations/entry-operations.ts";
import type { Operations } from "../operations/operations.ts";
import { entryFromWire, entryUpdateFromWire } from "../wire/entry.ts";
import { agentEntryToWire, entryToWire } from "../../wire/entry.ts";
import { federatesWithMatchFromWire, selectorMatchFromWire } from "../wire/match.ts";
import { spiffeIdFromWire } from "../../wire/spiffe-id.ts";
import { OK, statusOf } from "../wire/status.ts";
import { syncAuthorizedEntries } from "./entry-sync.ts";
import { operatorCall } from "./operator-call.ts";

/** What `spire.api.server.entry.v1.Entry` is served with. */
export interface EntryServiceOptions {
  readonly operations: Operations;
  readonly entries: Pick<EntryRegistry, "get" | "list" | "count" | "authorized">;
}

/** Handlers of `spire.api.server.entry.v1.Entry`. */
export function entryService({
  operations,
  entries,
}: EntryServiceOptions): ServiceHandlers<typeof Entry, ServerCall> {
  return {
    countEntries: ({ filter }) => ({ count: entries.count(filterFromWire(filter)) }),

    listEntries({ filter, outputMask, pageSize, pageToken }) {
      const page = entries.list(filterFromWire(filter), { pageSize, pageToken });
      return {
        entries: page.items.map((entry) => entryToWire(entry, outputMask)),
        nextPageToken: page.nextPageToken,
      };
    },

    getEntry({ id, outputMask }) {
      if (id === "") throw new AssayError("INVALID_REQUEST", "missing ID");
      const entry = entries.get(id);
      if (entry === undefined) throw new AssayError("ENTRY_NOT_FOUND", "entry not found");
      return entryToWire(entry, outputMask);
    },

    batchCreateEntry({ entries: wire, outputMask }, context) {
      return eachOf(wire, entryFromWire, outputMask, (drafts) =>
        operations.createEntries(operatorCall(context), drafts),
      );
    },

    batchUpdateEntry({ entries: wire, inputMask, outputMask }, context) {
      return eachOf(
        wire,
        (entry) => entryUpdateFromWire(entry, inputMask),
        outputMask,
        (drafts) => operations.updateEntries(operatorCall(context), drafts),
      );
    },

    async batchDeleteEntry({ ids }, context) {
      const outcomes = await operations.deleteEntries(operatorCall(context), ids);
      return {
        results: outcomes.map(({ id, error }) => ({
          id,
          status: error === undefined ? OK : statusOf(error),
        })),
      };
    },

    getAuthorizedEntries({ outputMask }, { caller }) {
      const authorized = entries.authorized(agentOf(caller).svid.spiffeId);
      return { entries: authorized.map((entry) => agentEntryToWire(entry, outputMask)) };
    },

    syncAuthorizedEntries: (requests, { caller }) =>
      syncAuthorizedEntries(requests, () => entries.authorized(agentOf(caller).svid.spiffeId)),
  };
}

/** Reads each item, has the good ones done by one call, and gives a result for each in order. */
async function eachOf<Wire, Draft>(
  wire: readonly Wire[],
  read: (item: Wire) => Draft,
  mask: EntryMask | undefined,
  run: (drafts: readonly Draft[]) => Promise<readonly EntryOutcome[]>,
) {
  const readings = wire.map((item): { draft: Draft } | { error: unknown } => {
    try {
      return { draft: read(item) };
    } catch (error) {
      return { error };
    }
  });
  const drafts = readings.flatMap((reading) => ("draft" in reading ? [reading.draft] : []));
  const outcomes = drafts.length === 0 ? [] : await run(drafts);
  let next = 0;
  return {
    results: readings.map((reading) => {
      if ("error" in reading) return { status: statusOf(reading.error) };
      const outcome = outcomes[next++];
      if (outcome === undefined) throw new AssayError("INTERNAL", "a batch came back shorter than it went");
      return {
        status: outcome.error === undefined ? OK : statusOf(outcome.error),
        ...(outcome.entry === undefined ? {} : { entry: entryToWire(outcome.entry, mask) }),
      };
    }),
  };
}

type WireFilter = Omit<CountEntriesRequest_Filter | ListEntriesRequest_Filter, "$typeName" | "$unknown">;

function filterFromWire(filter: WireFilter | undefined): EntryFilter {
  if (filter === undefined) return {};
  const { bySpiffeId, byParentId, bySelectors, byFederatesWith, byHint, byDownstream } = filter;
  return {
    ...(bySpiffeId === undefined ? {} : { spiffeId: spiffeIdFromWire(bySpiffeId, "by_spiffe_id") }),
    ...(byParentId === undefined ? {} : { parentId: spiffeIdFromWire(byParentId, "by_parent_id") }),
    ...(bySelectors === undefined ? {} : { selectors: selectorMatchFromWire(bySelectors) }),
    ...(byFederatesWith === undefined ? {} : { federatesWith: federatesWithMatchFromWire(byFederatesWith) }),
    ...(byHint === undefined ? {} : { hint: byHint }),
    ...(byDownstream === undefined ? {} : { downstream: byDownstream }),
  };
}
