import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { content, id, node, OWN, selectors } from "../../test/contract/store-samples.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { serverId } from "../spiffe/reserved.ts";
import { canonicalSelectors, formatSelector, parseSelector } from "../spiffe/selector.ts";
import type { EntryRecord, NodeRecord } from "../store/records.ts";
import { agentsAffectedBy } from "./affected.ts";
import { aliasesOf, authorizedEntries, authorizedEntry } from "./authorized.ts";
import { type Directory, emptyDirectory } from "./directory.ts";
import type { RegistryChange } from "./registry-change.ts";

const NOW = 1000;
const SERVER = serverId(OWN);
const AGENTS = ["a", "b", "c"].map((name) => node(name).id);

let ordinal = 0;
function entry(name: string, change: Partial<EntryRecord>): EntryRecord {
  return { ...content(`/${name}`), id: name, revision: 0, createdAt: 1, ordinal: ++ordinal, ...change };
}

function nodeRecord(name: string, change: Partial<NodeRecord> = {}): NodeRecord {
  return { ...node(name), banned: false, ordinal: ++ordinal, ...change };
}

function ids(entries: readonly EntryRecord[]): string[] {
  return entries.map((one) => one.id);
}

describe("authorizedEntries", () => {
  it("follows agent, aliases and the IDs of entries reached, in order of creation", () => {
    const directory = emptyDirectory(OWN);
    directory.nodes.put(nodeRecord("a", { selectors: selectors("x:1", "x:2") }));
    const put = (name: string, change: Partial<EntryRecord>) => directory.entries.put(entry(name, change));
    put("under-grandchild", { parentId: id("/grandchild") });
    put("direct", { parentId: node("a").id });
    put("alias", { parentId: SERVER, selectors: selectors("x:1") });
    put("child", { parentId: id("/alias") });
    put("grandchild", { parentId: id("/child") });
    put("other-alias", { parentId: SERVER, selectors: selectors("x:1", "x:3") });
    put("of-other-alias", { parentId: id("/other-alias") });
    put("of-other-agent", { parentId: node("b").id });
    expect(ids(authorizedEntries(directory, node("a").id, NOW))).toEqual([
      "under-grandchild",
      "direct",
      "child",
      "grandchild",
    ]);
    expect(ids(aliasesOf(directory, node("a").id, NOW))).toEqual(["alias"]);
  });

  it("gives every agent the selector of its own ID", () => {
    const directory = emptyDirectory(OWN);
    directory.nodes.put(nodeRecord("a"));
    directory.nodes.put(nodeRecord("b"));
    const selector = { type: "spiffe_id", value: node("a").id };
    directory.entries.put(entry("alias", { parentId: SERVER, selectors: [selector] }));
    directory.entries.put(entry("w", { parentId: id("/alias") }));
    expect(ids(authorizedEntries(directory, node("a").id, NOW))).toEqual(["w"]);
    expect(authorizedEntries(directory, node("b").id, NOW)).toEqual([]);
  });

  it("does not let an attestor's selector stand for another agent's ID", () => {
    const directory = emptyDirectory(OWN);
    const selector = { type: "spiffe_id", value: node("a").id };
    directory.nodes.put(nodeRecord("b", { selectors: [selector] }));
    directory.entries.put(entry("alias", { parentId: SERVER, selectors: [selector] }));
    directory.entries.put(entry("w", { parentId: id("/alias") }));
    expect(authorizedEntries(directory, node("b").id, NOW)).toEqual([]);
  });

  it("serves an unknown node what names it by ID, and a banned one nothing", () => {
    const directory = emptyDirectory(OWN);
    directory.entries.put(entry("w", { parentId: node("a").id }));
    expect(ids(authorizedEntries(directory, node("a").id, NOW))).toEqual(["w"]);
    directory.nodes.put(nodeRecord("a", { banned: true }));
    expect(authorizedEntries(directory, node("a").id, NOW)).toEqual([]);
    expect(authorizedEntry(directory, node("a").id, "w", NOW)).toBeUndefined();
  });

  it("lets an expired entry earn nothing from its very second, nor what hangs on it", () => {
    const directory = emptyDirectory(OWN);
    directory.nodes.put(nodeRecord("a", { selectors: selectors("x:1") }));
    directory.entries.put(entry("w", { parentId: node("a").id, expiresAt: NOW }));
    directory.entries.put(entry("below", { parentId: id("/w") }));
    directory.entries.put(entry("alias", { parentId: SERVER, selectors: selectors("x:1"), expiresAt: NOW }));
    directory.entries.put(entry("of-alias", { parentId: id("/alias") }));
    const agent = node("a").id;
    expect(ids(authorizedEntries(directory, agent, NOW - 1))).toEqual(["w", "below", "of-alias"]);
    expect(authorizedEntries(directory, agent, NOW)).toEqual([]);
    for (const name of ["w", "below", "of-alias"]) {
      expect(authorizedEntry(directory, agent, name, NOW - 1)?.id).toBe(name);
      expect(authorizedEntry(directory, agent, name, NOW)).toBeUndefined();
    }
  });

  it("ends in a circle of parents, with each entry once", () => {
    const directory = emptyDirectory(OWN);
    directory.entries.put(entry("p", { parentId: id("/q") }));
    directory.entries.put(entry("q", { parentId: id("/p") }));
    directory.entries.put(entry("start", { parentId: node("a").id, spiffeId: id("/p") }));
    expect(ids(authorizedEntries(directory, node("a").id, NOW))).toEqual(["p", "q", "start"]);
    expect(authorizedEntries(directory, node("b").id, NOW)).toEqual([]);
  });
});

// A small world in which everything can hang on everything.
const parent = fc.constantFrom<SpiffeId>(SERVER, ...AGENTS, id("/p"), id("/q"), id("/r"));
const someSelectors = fc
  .array(fc.constantFrom("x:1", "x:2", "x:3", `spiffe_id:${node("a").id}`), { minLength: 1, maxLength: 3 })
  .map((texts) => canonicalSelectors(texts.map(parseSelector)));
const action = fc.oneof(
  fc.record({
    kind: fc.constant("put" as const),
    name: fc.constantFrom("1", "2", "3", "4", "5", "6"),
    spiffeId: fc.constantFrom(id("/p"), id("/q"), id("/r")),
    parentId: parent,
    selectors: someSelectors,
    expiresAt: fc.constantFrom(0, 0, 0, 500),
  }),
  fc.record({ kind: fc.constant("delete" as const), name: fc.constantFrom("1", "2", "3", "4", "5", "6") }),
  fc.record({
    kind: fc.constant("node" as const),
    name: fc.constantFrom("a", "b", "c"),
    selectors: someSelectors,
    banned: fc.constantFrom(false, false, true),
  }),
  fc.record({ kind: fc.constant("evict" as const), name: fc.constantFrom("a", "b", "c") }),
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

function apply(directory: Directory, step: Action): RegistryChange {
  switch (step.kind) {
    case "put": {
      const before = directory.entries.get(step.name);
      const { spiffeId, parentId, expiresAt } = step;
      const after = entry(step.name, { spiffeId, parentId, selectors: step.selectors, expiresAt });
      const kept = before === undefined ? after : { ...after, ordinal: before.ordinal };
      directory.entries.put(kept);
      return { kind: "entry", id: step.name, before, after: kept };
    }
    case "delete": {
      const before = directory.entries.get(step.name);
      directory.entries.delete(step.name);
      return { kind: "entry", id: step.name, before, after: undefined };
    }
    case "node": {
      const before = directory.nodes.get(node(step.name).id);
      const after = nodeRecord(step.name, { selectors: step.selectors, banned: step.banned });
      directory.nodes.put(after);
      return { kind: "node", id: after.id, before, after };
    }
    case "evict": {
      const nodeId = node(step.name).id;
      const before = directory.nodes.get(nodeId);
      directory.nodes.delete(nodeId);
      return { kind: "node", id: nodeId, before, after: undefined };
    }
  }
}

function naive(directory: Directory, agent: SpiffeId): string[] {
  const record = directory.nodes.get(agent);
  if (record?.banned === true) return [];
  const attested = (record?.selectors ?? [])
    .map(formatSelector)
    .filter((text) => !text.startsWith("spiffe_id:"));
  const has = [...attested, `spiffe_id:${agent}`];
  const live = directory.entries.all.filter((one) => one.expiresAt === 0 || one.expiresAt > NOW);
  const held = new Set<string>([agent]);
  for (const one of live) {
    const alias = one.parentId === SERVER && one.selectors.every((s) => has.includes(formatSelector(s)));
    if (alias) held.add(one.spiffeId);
  }
  const reached = new Set<string>();
  for (let size = -1; size !== reached.size; ) {
    size = reached.size;
    for (const one of live) {
      if (!held.has(one.parentId)) continue;
      reached.add(one.id);
      held.add(one.spiffeId);
    }
  }
  return [...reached].toSorted();
}

describe("in any small world", () => {
  it("the crawl finds what a naive fixpoint finds, and each entry by itself", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 25 }), (steps) => {
        const directory = emptyDirectory(OWN);
        for (const step of steps) apply(directory, step);
        for (const agent of AGENTS) {
          const found = authorizedEntries(directory, agent, NOW);
          expect(ids(found).toSorted()).toEqual(naive(directory, agent));
          expect(found.map((one) => one.ordinal)).toEqual(
            found.map((one) => one.ordinal).toSorted((x, y) => x - y),
          );
          const single = directory.entries.all.filter((one) =>
            authorizedEntry(directory, agent, one.id, NOW),
          );
          expect(ids(single).toSorted()).toEqual(ids(found).toSorted());
        }
      }),
      { numRuns: 300 },
    );
  });

  it("every agent whose entries changed is among those to be told", () => {
    fc.assert(
      fc.property(
        fc.array(action, { maxLength: 20 }),
        fc.array(action, { minLength: 1, maxLength: 4 }),
        (before, steps) => {
          const directory = emptyDirectory(OWN);
          for (const step of before) apply(directory, step);
          const had = AGENTS.map((agent) => authorizedEntries(directory, agent, NOW));
          const changes = steps.map((step) => apply(directory, step));
          const { agents } = agentsAffectedBy(directory, changes);
          for (const [n, agent] of AGENTS.entries()) {
            const has = authorizedEntries(directory, agent, NOW);
            const changed = has.length !== had[n]?.length || has.some((one, at) => one !== had[n]?.[at]);
            if (changed) expect(agents).toContain(agent);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("agentsAffectedBy", () => {
  it("names everyone for the own bundle and the holders for a foreign one", () => {
    const directory = emptyDirectory(OWN);
    const partner = "partner.example" as never;
    directory.entries.put(entry("w", { parentId: node("a").id, federatesWith: [partner] }));
    directory.entries.put(entry("v", { parentId: node("b").id }));
    const bundle = (trustDomain: never) => ({
      kind: "bundle" as const,
      trustDomain,
      before: undefined,
      after: undefined,
    });
    expect(agentsAffectedBy(directory, [bundle(partner)])).toEqual({
      everyone: false,
      agents: new Set([node("a").id]),
    });
    expect(agentsAffectedBy(directory, [bundle(OWN as never)]).everyone).toBe(true);
    expect(agentsAffectedBy(directory, [{ kind: "authority", id: "x" }]).agents.size).toBe(0);
  });

  it("does not disturb an agent whose SVID was merely renewed", () => {
    const directory = emptyDirectory(OWN);
    const before = nodeRecord("a");
    const change = {
      kind: "node" as const,
      id: before.id,
      before,
      after: { ...before, pendingSerial: "bb" },
    };
    expect(agentsAffectedBy(directory, [change]).agents.size).toBe(0);
  });

  it("tells an agent that it was banned or let in again, or that its node has other selectors", () => {
    const directory = emptyDirectory(OWN);
    const before = nodeRecord("a");
    for (const change of [
      { banned: true },
      { selectors: selectors("x:1") },
      { selectors: selectors("x:1", "x:2") },
    ]) {
      const after = { ...before, ...change };
      const there = { kind: "node" as const, id: before.id, before, after };
      const back = { kind: "node" as const, id: before.id, before: after, after: before };
      expect(agentsAffectedBy(directory, [there]).agents).toEqual(new Set([before.id]));
      expect(agentsAffectedBy(directory, [back]).agents).toEqual(new Set([before.id]));
    }
  });

  it("looks at no entry and no node beside those concerned", () => {
    const directory = emptyDirectory(OWN);
    for (let n = 0; n < 2000; n++) {
      directory.nodes.put(nodeRecord(`n${n}`, { selectors: selectors("x:all", `x:${n}`) }));
      directory.entries.put(
        entry(`alias${n}`, { parentId: SERVER, selectors: selectors("x:all", `x:${n}`) }),
      );
    }
    const changed = entry("new", { parentId: id("/alias7") });
    directory.entries.put(changed);
    const change = { kind: "entry" as const, id: "new", before: undefined, after: changed };
    expect(agentsAffectedBy(directory, [change])).toEqual({
      everyone: false,
      agents: new Set([node("n7").id]),
    });
  });
});
