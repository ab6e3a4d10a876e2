import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { draft, type OpenedRegistry, openTestRegistry } from "../../test/contract/registry-samples.ts";
import { FOREIGN, foreignBundle, id, node, selectors } from "../../test/contract/store-samples.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryFilter } from "./entry-filter.ts";

let opened: OpenedRegistry;
beforeEach(async () => {
  let next = 0;
  opened = await openTestRegistry({ randomUuid: () => `uuid-${++next}` });
});
afterEach(() => opened[Symbol.asyncDispose]());

describe("creating entries", () => {
  it("answers each draft and shows what was created at once", async () => {
    const { entries } = opened.registry;
    const results = await entries.create([
      draft("a"),
      draft("bad", { spiffeId: "spiffe://example.org" }),
      { ...draft("a"), id: undefined },
      draft("a", { spiffeId: `spiffe://example.org/other` }),
      { ...draft("b"), id: "" },
      draft("lonely", { federatesWith: ["nowhere.example"] }),
      draft("bad id"),
    ]);
    expect(results.map((result) => result.outcome)).toEqual([
      "created",
      "invalid",
      "similar",
      "conflict",
      "created",
      "invalid",
      "invalid",
    ]);
    const errors = results.flatMap((result) => (result.outcome === "invalid" ? result.error.detail : []));
    expect(errors).toEqual([
      "spiffeId: expected an ID with a path",
      "federatesWith: unable to find federated bundle of nowhere.example",
      "id: expected 1 to 255 letters, numbers, dots, dashes or underscores",
    ]);
    const a = entries.get("a");
    expect(a).toMatchObject({ id: "a", revision: 0, createdAt: Math.floor(opened.clock.now() / 1000) });
    expect(results[2]).toEqual({ outcome: "similar", entry: a });
    expect(results[3]).toEqual({ outcome: "conflict", entry: a });
    expect(entries.list({}, {}).items.map((entry) => entry.id)).toEqual(["a", "uuid-2"]);
  });

  it("creates nothing for nothing", async () => {
    expect(await opened.registry.entries.create([])).toEqual([]);
  });
});

describe("updating entries", () => {
  it("sets only what the mask names, and what the draft leaves out to its default", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a", { hint: "old", x509SvidTtl: 60, dnsNames: ["a.b"] })]);
    const [result] = await entries.update([
      { id: "a", draft: { hint: "new", x509SvidTtl: 99 }, mask: new Set(["hint", "dnsNames"]) },
    ]);
    expect(result).toMatchObject({
      outcome: "updated",
      entry: { hint: "new", x509SvidTtl: 60, dnsNames: [], revision: 1 },
    });
    expect(entries.get("a")).toEqual(result?.outcome === "updated" && result.entry);
  });

  it("replaces everything without a mask, and only counts up with an empty one", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a", { hint: "old", admin: true })]);
    await entries.update([{ id: "a", draft: { ...draft("x"), jwtSvidTtl: 7 } }]);
    expect(entries.get("a")).toMatchObject({
      id: "a",
      spiffeId: id("/workload/x"),
      hint: "",
      admin: false,
      jwtSvidTtl: 7,
    });
    await entries.update([{ id: "a", draft: { hint: "ignored" }, mask: new Set() }]);
    expect(entries.get("a")).toMatchObject({ hint: "", jwtSvidTtl: 7, revision: 2 });
  });

  it("answers each update with its own outcome", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a"), draft("b")]);
    const results = await entries.update([
      { id: "absent", draft: draft("x") },
      { id: "a", draft: { spiffeId: "x" }, mask: new Set(["spiffeId"]) },
      { id: "a", draft: {}, mask: new Set(["selectors"]) },
      { id: "a", draft: draft("b") },
      { id: "b", draft: { hint: "h" }, mask: new Set(["hint"]), revision: 5 },
      { id: "b", draft: { federatesWith: ["a.b"] }, mask: new Set(["federatesWith"]) },
    ]);
    expect(results.map((result) => result.outcome)).toEqual([
      "absent",
      "invalid",
      "invalid",
      "similar",
      "stale",
      "invalid",
    ]);
    expect(results[1]).toMatchObject({ error: { code: "INVALID_SPIFFE_ID" } });
    expect(results[2]).toMatchObject({ error: { code: "INVALID_ENTRY" } });
    expect(results[3]).toMatchObject({ entry: { id: "b" } });
    expect(results[5]).toMatchObject({ error: { code: "INVALID_ENTRY" } });
    expect(entries.list({}, {}).items.every((entry) => entry.revision === 0)).toBe(true);
  });

  it("builds a second update of one entry on the first", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a")]);
    await entries.update([
      { id: "a", draft: { hint: "h" }, mask: new Set(["hint"]) },
      { id: "a", draft: { jwtSvidTtl: 9 }, mask: new Set(["jwtSvidTtl"]) },
    ]);
    expect(entries.get("a")).toMatchObject({ hint: "h", jwtSvidTtl: 9, revision: 2 });
  });

  it("loses no field where many change different ones at once, on two servers", async () => {
    const other = await opened.another();
    await opened.registry.entries.create([draft("a")]);
    await other.catchUp();
    await Promise.all([
      opened.registry.entries.update([{ id: "a", draft: { hint: "h" }, mask: new Set(["hint"]) }]),
      other.entries.update([{ id: "a", draft: { jwtSvidTtl: 9 }, mask: new Set(["jwtSvidTtl"]) }]),
      opened.registry.entries.update([{ id: "a", draft: { admin: true }, mask: new Set(["admin"]) }]),
      other.entries.update([{ id: "a", draft: { dnsNames: ["a.b"] }, mask: new Set(["dnsNames"]) }]),
    ]);
    await opened.registry.catchUp();
    expect(opened.registry.entries.get("a")).toMatchObject({
      hint: "h",
      jwtSvidTtl: 9,
      admin: true,
      dnsNames: ["a.b"],
      revision: 4,
    });
  });
});

describe("deleting and expiring entries", () => {
  it("forgets an entry at once and tells what was there", async () => {
    const { entries } = opened.registry;
    await entries.create([draft("a")]);
    expect(await entries.delete(["a", "b"])).toEqual([true, false]);
    expect(entries.get("a")).toBeUndefined();
  });

  it("gives nothing for an expired entry even before it is pruned", async () => {
    const { entries } = opened.registry;
    const now = Math.floor(opened.clock.now() / 1000);
    const agent = node("1").id;
    await entries.create([
      draft("a", { expiresAt: now + 10, admin: true }),
      draft("b", { downstream: true }),
    ]);
    expect(entries.hasFlag(id("/workload/a"), "admin")).toBe(true);
    expect(entries.hasFlag(id("/workload/a"), "downstream")).toBe(false);
    expect(entries.hasFlag(id("/workload/b"), "downstream")).toBe(true);
    opened.clock.step(9_999);
    expect(await entries.pruneExpired()).toEqual([]);
    expect(entries.authorized(agent)).toHaveLength(2);
    opened.clock.step(1);
    expect(entries.authorized(agent).map((entry) => entry.id)).toEqual(["b"]);
    expect(entries.authorizedEntry(agent, "a")).toBeUndefined();
    expect(entries.hasFlag(id("/workload/a"), "admin")).toBe(false);
    expect(await entries.pruneExpired()).toEqual(["a"]);
    expect(entries.get("a")).toBeUndefined();
  });
});

describe("listing entries", () => {
  const partner2 = parseTrustDomain("second.example");
  beforeEach(async () => {
    await opened.store.bundles.put(foreignBundle(), "set");
    await opened.store.bundles.put(foreignBundle(1n, partner2), "set");
    await opened.registry.catchUp();
    const one = { type: "t", value: "1" };
    const two = { type: "t", value: "2" };
    const three = { type: "t", value: "3" };
    const results = await opened.registry.entries.create([
      draft("one", { selectors: [one], hint: "h", parentId: id("/p") }),
      draft("one-two", { selectors: [one, two], federatesWith: [FOREIGN] }),
      draft("one-two-three", {
        selectors: [one, two, three],
        federatesWith: [FOREIGN, partner2],
        downstream: true,
      }),
      draft("three", { selectors: [three], spiffeId: id("/workload/one"), federatesWith: [partner2] }),
    ]);
    expect(results.every((result) => result.outcome === "created")).toBe(true);
  });

  function listed(filter: EntryFilter): string {
    const names = opened.registry.entries.list(filter, {}).items.map((entry) => entry.id);
    expect(opened.registry.entries.count(filter)).toBe(names.length);
    return names.join(" ");
  }

  it.each([
    ["exact", "one-two"],
    ["subset", "one one-two"],
    ["superset", "one-two one-two-three"],
    ["any", "one one-two one-two-three"],
  ] as const)("by selectors, %s", (match, expected) => {
    expect(listed({ selectors: { selectors: selectors("t:2", "t:1"), match } })).toBe(expected);
  });

  it.each([
    ["exact", "one-two"],
    ["subset", "one-two"],
    ["superset", "one-two one-two-three"],
    ["any", "one-two one-two-three"],
  ] as const)("by federation, %s", (match, expected) => {
    expect(listed({ federatesWith: { trustDomains: [FOREIGN], match } })).toBe(expected);
  });

  it("by each other field, and by several at once", () => {
    expect(listed({ spiffeId: id("/workload/one") })).toBe("one three");
    expect(listed({ parentId: id("/p") })).toBe("one");
    expect(listed({ parentId: id("/nobody") })).toBe("");
    expect(listed({ hint: "h" })).toBe("one");
    expect(listed({ hint: "" })).toBe("one-two one-two-three three");
    expect(listed({ downstream: true })).toBe("one-two-three");
    expect(listed({ downstream: false })).toBe("one one-two three");
    expect(listed({ spiffeId: id("/workload/one"), parentId: id("/p") })).toBe("one");
    expect(listed({ spiffeId: id("/workload/one"), hint: "x" })).toBe("");
  });

  it("refuses a filter by nothing, and by an unknown match", () => {
    const { entries } = opened.registry;
    const none: EntryFilter = { selectors: { selectors: [], match: "any" } };
    expect(() => entries.list(none, {})).toThrowCode("INVALID_REQUEST", /selectors: expected at least one/);
    expect(() => entries.count(none)).toThrowCode("INVALID_REQUEST");
    const foreign: EntryFilter = { federatesWith: { trustDomains: [], match: "exact" } };
    expect(() => entries.list(foreign, {})).toThrowCode("INVALID_REQUEST", /federates with/);
    const odd: EntryFilter = { selectors: { selectors: selectors("t:1"), match: "odd" as "any" } };
    expect(() => entries.list(odd, {})).toThrowCode("INVALID_REQUEST", /exact, subset/);
  });

  it("in pages that hold while entries change between them", async () => {
    const { entries } = opened.registry;
    const first = entries.list({}, { pageSize: 2 });
    expect(first.items.map((entry) => entry.id)).toEqual(["one", "one-two"]);
    await entries.delete(["one-two"]);
    await entries.update([{ id: "three", draft: { hint: "moved" }, mask: new Set(["hint"]) }]);
    await entries.create([draft("new")]);
    const second = entries.list({}, { pageSize: 2, pageToken: first.nextPageToken });
    expect(second.items.map((entry) => entry.id)).toEqual(["one-two-three", "three"]);
    const third = entries.list({}, { pageSize: 2, pageToken: second.nextPageToken });
    expect(third).toMatchObject({ items: [{ id: "new" }], nextPageToken: "" });
  });
});
