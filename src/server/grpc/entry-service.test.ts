import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireId } from "../../../test/fakes/server-agent.ts";
import { statuses, wireBundle, wireEntry } from "../../../test/fakes/server-wire.ts";
import { SelectorMatch_MatchBehavior as Match } from "../../proto/gen/spire/api/types/selector_pb.ts";
import { FederatesWithMatch_MatchBehavior as Federates } from "../../proto/gen/spire/api/types/federateswith_pb.ts";

const PARENT = "spiffe://example.org/spire/agent/x509pop/p";
let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
  await bench.bundles.batchCreateFederatedBundle({ bundle: [wireBundle("other.org")] });
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("creating entries", () => {
  it("answers each item in order, with the whole entry, and OK is code 0", async () => {
    const { results } = await bench.entries.batchCreateEntry({
      entries: [
        wireEntry("create/a", PARENT, {
          x509SvidTtl: 60,
          jwtSvidTtl: 30,
          dnsNames: ["a.example.org"],
          federatesWith: ["spiffe://other.org"],
          hint: "internal",
          admin: true,
          downstream: true,
          expiresAt: 4_000_000_000n,
          additionalAttributes: { jwtSvidIncludeJti: true },
        }),
        wireEntry("create/b", PARENT, { selectors: [] }),
        wireEntry("create/c", PARENT, { id: "my-own.id_1" }),
        { parentId: wireId(PARENT), selectors: [{ type: "unix", value: "uid:1" }] },
      ],
    });
    expect(statuses(results)).toEqual([
      "0 OK",
      "3 selectors: expected at least one selector",
      "0 OK",
      "3 spiffe_id: request must specify SPIFFE ID",
    ]);
    expect(results[0]?.entry).toMatchObject({
      spiffeId: { trustDomain: "example.org", path: "/create/a" },
      parentId: wireId(PARENT),
      selectors: [{ type: "unix", value: "user:create/a" }],
      x509SvidTtl: 60,
      jwtSvidTtl: 30,
      dnsNames: ["a.example.org"],
      federatesWith: ["other.org"],
      hint: "internal",
      admin: true,
      downstream: true,
      storeSvid: false,
      expiresAt: 4_000_000_000n,
      revisionNumber: 0n,
      additionalAttributes: { jwtSvidIncludeJti: true, disableX509SvidPrefetch: false },
    });
    expect(results[0]?.entry?.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(results[1]?.entry).toBeUndefined();
    expect(results[2]?.entry?.id).toBe("my-own.id_1");
  });

  it("gives the entry that is there already, also within one batch", async () => {
    const entry = wireEntry("similar", PARENT, { x509SvidTtl: 60 });
    const { results } = await bench.entries.batchCreateEntry({ entries: [entry, { ...entry, hint: "x" }] });
    expect(statuses(results)).toEqual(["0 OK", "6 similar entry already exists"]);
    expect(results[1]?.entry).toEqual(results[0]?.entry);
    const id = results[0]?.entry?.id ?? "";
    const taken = await bench.entries.batchCreateEntry({ entries: [wireEntry("similar/2", PARENT, { id })] });
    expect(taken.results[0]?.status?.code).toBe(6);
    expect(taken.results[0]?.entry?.spiffeId?.path).toBe("/similar");
  });

  it.each([
    ["a foreign trust domain", { spiffeId: wireId("spiffe://other.org/x") }],
    ["a foreign parent", { parentId: wireId("spiffe://other.org/x") }],
    ["a reserved path", { spiffeId: wireId("spiffe://example.org/spire/agent/x/y") }],
    ["no path", { spiffeId: wireId("spiffe://example.org") }],
    ["a negative lifetime", { x509SvidTtl: -1 }],
    ["a negative end", { expiresAt: -1n }],
    ["an end beyond every number", { expiresAt: 2n ** 62n }],
    ["a bad DNS name", { dnsNames: ["a b"] }],
    ["its own trust domain as foreign", { federatesWith: ["example.org"] }],
    ["an id with a slash", { id: "a/b" }],
    ["an id of 256 characters", { id: "a".repeat(256) }],
    ["a hint of 1,025 bytes", { hint: "h".repeat(1025) }],
    [
      "two selector types with storeSvid",
      {
        storeSvid: true,
        selectors: [
          { type: "a", value: "b" },
          { type: "c", value: "d" },
        ],
      },
    ],
  ])("refuses %s and creates its neighbour", async (name, fields) => {
    const neighbour = wireEntry(`neighbour/${name.replaceAll(/[^a-z]/g, "-")}`, PARENT);
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("refused", PARENT, fields), neighbour],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([3, 0]);
    expect(await ids({ bySpiffeId: wireId("spiffe://example.org/refused") })).toEqual([]);
  });

  it("refuses to federate with a trust domain whose bundle is unknown", async () => {
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("federated", PARENT, { federatesWith: ["nowhere.org"] })],
    });
    expect(results[0]?.status?.code).not.toBe(0);
    expect(results[0]?.status?.message).toContain("nowhere.org");
  });

  it("takes an empty batch", async () => {
    expect((await bench.entries.batchCreateEntry({ entries: [] })).results).toEqual([]);
  });
});

describe("masks", () => {
  it("keep everything where absent, and the id alone where empty", async () => {
    const id = await created(wireEntry("masked", PARENT, { hint: "h" }));
    expect(await bench.entries.getEntry({ id })).toMatchObject({
      id,
      hint: "h",
      createdAt: expect.any(BigInt) as bigint,
    });
    const bare = await bench.entries.getEntry({ id, outputMask: {} });
    const { $typeName: _, ...fields } = bare;
    expect(Object.fromEntries(Object.entries(fields).filter(([, value]) => isSet(value)))).toEqual({ id });
    const list = await bench.entries.listEntries({
      filter: { bySpiffeId: wireId("spiffe://example.org/masked") },
      outputMask: { hint: true },
    });
    expect(list.entries).toMatchObject([{ id, hint: "h", selectors: [] }]);
    expect(list.entries[0]?.spiffeId).toBeUndefined();
  });

  it("also of the answers to creating and updating", async () => {
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("masked/2", PARENT)],
      outputMask: { parentId: true },
    });
    expect(results[0]?.entry?.parentId).toMatchObject(wireId(PARENT));
    expect(results[0]?.entry?.spiffeId).toBeUndefined();
    const update = await bench.entries.batchUpdateEntry({
      entries: [{ id: results[0]?.entry?.id ?? "", hint: "new" }],
      inputMask: { hint: true },
      outputMask: {},
    });
    expect(update.results[0]?.entry).toMatchObject({ hint: "", revisionNumber: 0n });
  });
});

describe("updating entries", () => {
  it("changes what the mask names and nothing else, and counts the revision", async () => {
    const id = await created(wireEntry("update/masked", PARENT, { hint: "old", x509SvidTtl: 60 }));
    const { results } = await bench.entries.batchUpdateEntry({
      entries: [{ id, hint: "new", x509SvidTtl: 1, spiffeId: wireId("spiffe://example.org/ignored") }],
      inputMask: { hint: true },
    });
    expect(statuses(results)).toEqual(["0 OK"]);
    expect(results[0]?.entry).toMatchObject({
      hint: "new",
      x509SvidTtl: 60,
      revisionNumber: 1n,
      spiffeId: { path: "/update/masked" },
    });
  });

  it("changes everything without a mask", async () => {
    const id = await created(wireEntry("update/whole", PARENT, { hint: "old", admin: true }));
    const { results } = await bench.entries.batchUpdateEntry({
      entries: [wireEntry("update/other", PARENT, { id })],
    });
    expect(results[0]?.entry).toMatchObject({ hint: "", admin: false, spiffeId: { path: "/update/other" } });
  });

  it("answers each item in order", async () => {
    const id = await created(wireEntry("update/batch", PARENT));
    const other = wireEntry("update/there", PARENT);
    await created(other);
    const { results } = await bench.entries.batchUpdateEntry({
      entries: [
        { id: "", hint: "x" },
        { id: "none", hint: "x" },
        { id, hint: "h".repeat(2000) },
        { id, hint: "x" },
      ],
      inputMask: { hint: true },
    });
    expect(results.map(({ status }) => status?.code)).toEqual([3, 5, 3, 0]);
    const similar = await bench.entries.batchUpdateEntry({ entries: [{ ...other, id }] });
    expect(statuses(similar.results)).toEqual(["6 similar entry already exists"]);
    expect(similar.results[0]?.entry?.spiffeId?.path).toBe("/update/there");
  });

  it("leaves the additional attributes alone unless they are named", async () => {
    const id = await created(
      wireEntry("update/attributes", PARENT, { additionalAttributes: { disableX509SvidPrefetch: true } }),
    );
    const kept = await bench.entries.batchUpdateEntry({ entries: [{ id }], inputMask: { hint: true } });
    expect(kept.results[0]?.entry?.additionalAttributes?.disableX509SvidPrefetch).toBe(true);
    const gone = await bench.entries.batchUpdateEntry({
      entries: [{ id }],
      inputMask: { additionalAttributes: true },
    });
    expect(gone.results[0]?.entry?.additionalAttributes).toBeUndefined();
  });
});

describe("deleting entries", () => {
  it("answers each id in order, also one named twice", async () => {
    const id = await created(wireEntry("delete", PARENT));
    const { results } = await bench.entries.batchDeleteEntry({ ids: ["none", id, id] });
    expect(results.map(({ status, id: named }) => [named, status?.code])).toEqual([
      ["none", 5],
      [id, 0],
      [id, 5],
    ]);
    await expect(bench.entries.getEntry({ id })).rejects.toMatchObject({ status: "NOT_FOUND" });
  });
});

describe("reading entries", () => {
  it("refuses to get none and says what is missing", async () => {
    await expect(bench.entries.getEntry({ id: "" })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: "missing ID",
    });
    await expect(bench.entries.getEntry({ id: "none" })).rejects.toMatchObject({
      status: "NOT_FOUND",
      detail: "entry not found",
    });
  });

  it("goes page by page: a full last page has a token, and the page behind it is empty", async () => {
    const parent = "spiffe://example.org/paged";
    const all = [];
    for (const name of ["1", "2", "3", "4"]) all.push(await created(wireEntry(`page/${name}`, parent)));
    const page = (pageToken: string) =>
      bench.entries.listEntries({ filter: { byParentId: wireId(parent) }, pageSize: 2, pageToken });
    const first = await page("");
    expect(first.entries.map(({ id }) => id)).toEqual(all.slice(0, 2));
    // What goes and comes between two pages neither repeats nor hides anything else.
    await bench.entries.batchDeleteEntry({ ids: all.slice(0, 1) });
    const second = await page(first.nextPageToken);
    expect(second.entries.map(({ id }) => id)).toEqual(all.slice(2));
    expect(second.nextPageToken).not.toBe("");
    expect(await page(second.nextPageToken)).toMatchObject({ entries: [], nextPageToken: "" });
  });

  it.each([
    ["a made-up token", { pageToken: "made up" }],
    ["a token that is too long", { pageToken: "x".repeat(10_000) }],
    ["a negative size", { pageSize: -1 }],
  ])("refuses %s", async (_, page) => {
    await expect(bench.entries.listEntries(page)).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it("takes the largest size", async () => {
    const { entries } = await bench.entries.listEntries({ pageSize: 2 ** 31 - 1 });
    expect(entries.length).toBe((await bench.entries.countEntries({})).count);
  });

  it("filters by everything it knows, and counts the same", async () => {
    const parent = "spiffe://example.org/filtered";
    const [a, b] = [
      { type: "f", value: "a" },
      { type: "f", value: "b" },
    ];
    const one = await created(wireEntry("filter/1", parent, { selectors: [a], hint: "h" }));
    const two = await created(wireEntry("filter/2", parent, { selectors: [a, b], downstream: true }));
    const three = await created(
      wireEntry("filter/3", parent, { selectors: [b], federatesWith: ["other.org"] }),
    );
    const of = (filter: object) => ids({ byParentId: wireId(parent), ...filter });
    const by = (match: Match, ...selectors: (typeof a)[]) => of({ bySelectors: { match, selectors } });
    expect(await of({})).toEqual([one, two, three]);
    expect(await of({ bySpiffeId: wireId("spiffe://example.org/filter/2") })).toEqual([two]);
    expect(await of({ byHint: "h" })).toEqual([one]);
    expect(await of({ byHint: "" })).toEqual([two, three]);
    expect(await of({ byDownstream: true })).toEqual([two]);
    expect(await of({ byDownstream: false })).toEqual([one, three]);
    expect(await by(Match.MATCH_EXACT, a)).toEqual([one]);
    expect(await by(Match.MATCH_SUBSET, a)).toEqual([one]);
    expect(await by(Match.MATCH_SUPERSET, a)).toEqual([one, two]);
    expect(await by(Match.MATCH_ANY, a, b)).toEqual([one, two, three]);
    const federates = { trustDomains: ["other.org"], match: Federates.MATCH_ANY };
    expect(await of({ byFederatesWith: federates })).toEqual([three]);
    expect((await bench.entries.countEntries({ filter: { byParentId: wireId(parent) } })).count).toBe(3);
  });

  it.each<[string, object, string]>([
    ["no selectors", { bySelectors: { selectors: [], match: 0 } }, "empty selector set"],
    ["an unknown match", { bySelectors: { selectors: [{ type: "a", value: "b" }], match: 9 } }, "match"],
    ["no trust domains", { byFederatesWith: { trustDomains: [], match: 0 } }, "empty trust domain set"],
    ["an unknown match of domains", { byFederatesWith: { trustDomains: ["a.org"], match: 9 } }, "match"],
    ["a bad trust domain", { byFederatesWith: { trustDomains: ["A B"], match: 0 } }, ""],
  ])("refuses a filter with %s", async (_, filter, detail) => {
    const expected = { status: "INVALID_ARGUMENT", detail: expect.stringContaining(detail) as string };
    await expect(bench.entries.listEntries({ filter })).rejects.toMatchObject(expected);
    await expect(bench.entries.countEntries({ filter })).rejects.toMatchObject(expected);
  });
});

async function created(entry: ReturnType<typeof wireEntry>): Promise<string> {
  const { results } = await bench.entries.batchCreateEntry({ entries: [entry] });
  expect(statuses(results)).toEqual(["0 OK"]);
  return results[0]?.entry?.id ?? "";
}

async function ids(filter: object): Promise<readonly string[]> {
  return (await bench.entries.listEntries({ filter })).entries.map(({ id }) => id);
}

function isSet(value: unknown): boolean {
  return !(
    value === undefined ||
    value === "" ||
    value === 0 ||
    value === 0n ||
    value === false ||
    (Array.isArray(value) && value.length === 0)
  );
}
