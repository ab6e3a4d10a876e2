import { describe, expect, it } from "vitest";
import { emptyBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { IN_TREE, TaskState, trustDomainOfTask } from "./task-state.ts";
import { treeAttestor } from "./tree-attestor.ts";

const own = parseTrustDomain("example.org");
const other = parseTrustDomain("other.org");
const identity = (id: string, hint = "") => ({ spiffeId: parseSpiffeId(id), hint, svidKeyType: "" as const });
const a = identity("spiffe://example.org/a");
const b = identity("spiffe://example.org/b", "b");
const task = { id: "1", lease: 60, hardEnd: 1 };
const bundles = (...names: (typeof own)[]) => ({
  bundles: new Map(names.map((name) => [name, emptyBundle(name)] as const)),
  crls: new Map(),
});

describe("the state of a task", () => {
  it("is entries that every process of the tree earns, the default first", () => {
    const { upserted, complete, bundle } = new TaskState(own).update(
      { identities: [b, a] },
      bundles(own, other),
    );
    expect(complete).toBe(true);
    expect(bundle?.trustDomain).toBe(own);
    expect(upserted).toMatchObject([
      { id: b.spiffeId, spiffeId: b.spiffeId, createdAt: 0, hint: "b", federatesWith: [other] },
      { id: a.spiffeId, spiffeId: a.spiffeId, createdAt: 1, selectors: [IN_TREE] },
    ]);
  });

  it("revises an entry where something about it changed, and only there", () => {
    const state = new TaskState(own);
    const revision = (hint: string, ...names: (typeof own)[]) =>
      state.update({ identities: [{ ...a, hint }] }, bundles(...names)).upserted[0]?.revision;
    expect(revision("x", own)).toBe(0);
    expect(revision("x", own)).toBe(0);
    expect(revision("y", own)).toBe(1);
    expect(revision("y", own, other)).toBe(2);
    expect(revision("y", own, other)).toBe(2);
  });

  it("leaves identities of another trust domain out", () => {
    const foreign = identity("spiffe://other.org/a");
    expect(new TaskState(own).update({ identities: [foreign] }, bundles(own)).upserted).toEqual([]);
    expect(trustDomainOfTask({ ...task, identities: [a, b] })).toBe(own);
    expect(() => trustDomainOfTask({ ...task, identities: [a, foreign] })).toThrowCode(
      "NO_IDENTITY_ISSUED",
      /several trust domains/,
    );
    expect(() => trustDomainOfTask({ ...task, identities: [] })).toThrowCode("NO_IDENTITY_ISSUED");
  });
});

describe("the attestor of a process tree", () => {
  const { instance } = treeAttestor({ runner: 10, uid: 1000, descends: (pid, runner) => pid === runner + 1 });
  const attest = (pid: number, uid = 1000) =>
    instance.attest?.({ pid, uid, gid: 1000 }, new AbortController().signal);

  it("knows its processes of its user, and nobody else", async () => {
    expect(await attest(11)).toEqual([IN_TREE]);
    expect(await attest(12)).toEqual([]);
    expect(await attest(11, 0)).toEqual([]);
  });
});
