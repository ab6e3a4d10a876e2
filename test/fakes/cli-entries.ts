import { create } from "@bufbuild/protobuf";
import { AssayError } from "../../src/errors/assay-error.ts";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { type Entry, EntrySchema } from "../../src/proto/gen/spire/api/types/entry_pb.ts";
import { SelectorMatch_MatchBehavior } from "../../src/proto/gen/spire/api/types/selector_pb.ts";
import { SPIFFEIDSchema } from "../../src/proto/gen/spire/api/types/spiffeid_pb.ts";
import type { FakeSocketServer } from "./cli.ts";

/** What a fake registry holds and was asked. */
export interface FakeEntries {
  readonly entries: Entry[];
  /** Each call, in a word and what it was about. */
  readonly changes: string[];
  /** Whether it gives an entry without an ID the one of its template, `/ci`. */
  derivesIds: boolean;
}

type EntryFields = NonNullable<Parameters<typeof create<typeof EntrySchema>>[1]>;

/** An entry of the wire. */
export function entry(id: string, fields: EntryFields = {}): Entry {
  return create(EntrySchema, {
    id,
    spiffeId: { trustDomain: "example.org", path: "/web" },
    parentId: { trustDomain: "example.org", path: "/node" },
    selectors: [{ type: "unix", value: "uid:1" }],
    createdAt: 1_800_000_000n,
    ...fields,
  } as EntryFields);
}

/** A small registry that answers as the wire demands: enough for a command to be wrong against. */
export function serveEntries(server: FakeSocketServer): FakeEntries {
  const state: FakeEntries = { entries: [], changes: [], derivesIds: false };
  const { entries, changes } = state;
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const selectorsOf = ({ selectors }: Pick<Entry, "selectors">) =>
    selectors.map(({ type, value }) => `${type}:${value}`).toSorted();
  server.serve(EntryService, {
    batchCreateEntry: ({ entries: wanted }) => ({
      results: wanted.map((item) => {
        if (item.hint === "refused") return { status: { code: 3, message: "bad hint" } };
        if (state.derivesIds)
          item.spiffeId ??= create(SPIFFEIDSchema, { trustDomain: "example.org", path: "/ci" });
        const similar = entries.find(
          (other) =>
            same(other.assay?.idTemplate, item.assay?.idTemplate) &&
            same(other.spiffeId, item.spiffeId) &&
            same(other.parentId, item.parentId) &&
            same(selectorsOf(other), selectorsOf(item)),
        );
        if (similar !== undefined)
          return { status: { code: 6, message: "similar entry already exists" }, entry: similar };
        const made = create(EntrySchema, {
          ...item,
          id: item.id || `e${entries.length + 1}`,
          createdAt: 1_800_000_000n,
        });
        entries.push(made);
        changes.push(`create ${made.id}`);
        return { status: { code: 0 }, entry: made };
      }),
    }),
    batchUpdateEntry: ({ entries: wanted, inputMask }) => ({
      results: wanted.map((item) => {
        const at = entries.findIndex(({ id }) => id === item.id);
        const fields = Object.entries(inputMask ?? {}).flatMap(([name, isSet]) =>
          isSet === true ? [name] : [],
        );
        const picked = Object.fromEntries(fields.map((name) => [name, item[name as keyof Entry]]));
        const changed = create(EntrySchema, { ...entries[at], ...picked } as EntryFields);
        entries[at] = changed;
        changes.push(`update ${item.id} ${fields.join(",")}`);
        return { status: { code: 0 }, entry: changed };
      }),
    }),
    batchDeleteEntry: ({ ids }) => ({
      results: ids.map((id) => {
        const at = entries.findIndex((item) => item.id === id);
        if (at < 0) return { id, status: { code: 5, message: "entry not found" } };
        entries.splice(at, 1);
        return { id, status: { code: 0 } };
      }),
    }),
    getEntry: ({ id }) => {
      const found = entries.find((item) => item.id === id);
      if (found === undefined) throw new AssayError("NOT_FOUND", "entry not found");
      return found;
    },
    listEntries: ({ filter, pageToken }) => {
      changes.push(`list ${JSON.stringify(filter)}`);
      const wanted = filter?.bySelectors;
      const found = entries.filter(
        (item) =>
          (filter?.bySpiffeId === undefined || same(item.spiffeId, filter.bySpiffeId)) &&
          (wanted?.match !== SelectorMatch_MatchBehavior.MATCH_EXACT ||
            same(selectorsOf(item), selectorsOf(wanted))),
      );
      // One entry a page, so that a command that reads one page only is caught.
      const at = Number(pageToken);
      return { entries: found.slice(at, at + 1), nextPageToken: at + 1 < found.length ? String(at + 1) : "" };
    },
    countEntries: () => ({ count: entries.length }),
  });
  return state;
}
