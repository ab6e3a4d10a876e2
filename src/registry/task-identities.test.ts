import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { draft, openTestRegistry, type OpenedRegistry } from "../../test/contract/registry-samples.ts";
import { id, OWN, selectors, task } from "../../test/contract/store-samples.ts";
import type { EntryDraft } from "./entry-rules.ts";
import type { TaskFacts } from "./task-identities.ts";

const PARENT = `spiffe://${OWN}/spire/task/github-acme`;
const AGENT = id("/spire/agent/x509pop/1");
const RUN: TaskFacts = {
  selectors: selectors("github:repository_id:1", "github:ref:refs/heads/main", "github:event:push"),
  guarded: [],
  claims: { repository_id: "1", run_id: "7", ref: "refs/heads/main" },
};
const TEMPLATE = "/ci/{repository_id}/run/{run_id}";

let opened: OpenedRegistry;
beforeEach(async () => {
  opened = await openTestRegistry();
});
afterEach(() => opened[Symbol.asyncDispose]());

const entries = () => opened.registry.entries;

async function created(name: string, change: Partial<EntryDraft> = {}): Promise<void> {
  const wanted = draft(name, { parentId: PARENT, selectors: selectors("github:repository_id:1"), ...change });
  const [result] = await entries().create([wanted]);
  expect(result?.outcome === "invalid" ? result.error.detail : result?.outcome).toBe("created");
}

const ids = (facts = RUN, instance = "github-acme") =>
  entries()
    .taskIdentities(instance, facts)
    .identities.map(({ entry, spiffeId }) => `${entry.id} ${spiffeId.slice("spiffe://example.org".length)}`);

describe("the identities of a task", () => {
  it("are those of every entry below its attestor whose selectors it has, oldest first", async () => {
    await created("run", { spiffeId: "", idTemplate: TEMPLATE });
    await created("stable", { spiffeId: `spiffe://${OWN}/deploy`, hint: "deploy" });
    await created("other-repository", { selectors: selectors("github:repository_id:2") });
    await created("other-attestor", { parentId: `spiffe://${OWN}/spire/task/gitlab` });
    await created("of-an-agent", { parentId: AGENT, selectors: selectors("github:repository_id:1") });
    expect(ids()).toEqual(["run /ci/1/run/7", "stable /deploy"]);
    expect(ids(RUN, "gitlab")).toEqual(["other-attestor /workload/other-attestor"]);
    expect(ids(RUN, "nobody")).toEqual([]);
    expect(() => ids(RUN, "GitHub")).toThrowCode("INVALID_SPIFFE_ID", /task attestor/);
    expect(() => ids(RUN, "a/b")).toThrowCode("INVALID_SPIFFE_ID");
  });

  it("follow changes of entries, and end with them", async () => {
    await created("a", { spiffeId: "", idTemplate: TEMPLATE });
    await entries().update([
      { id: "a", draft: { idTemplate: "/builds/{run_id}" }, mask: new Set(["idTemplate"]) },
    ]);
    expect(entries().get("a")?.spiffeId).toBe(`spiffe://${OWN}/builds`);
    expect(ids()).toEqual(["a /builds/7"]);
    await entries().update([
      { id: "a", draft: { parentId: `spiffe://${OWN}/spire/task/other` }, mask: new Set(["parentId"]) },
    ]);
    expect(ids()).toEqual([]);
    expect(ids(RUN, "other")).toEqual(["a /builds/7"]);
    await entries().delete(["a"]);
    expect(ids(RUN, "other")).toEqual([]);
  });

  it("end when their entry expires, to the second", async () => {
    const now = Math.floor(opened.clock.now() / 1000);
    await created("a", { expiresAt: now + 10 });
    expect(ids()).toHaveLength(1);
    await opened.clock.advance(10_000);
    expect(ids()).toEqual([]);
    expect(entries().taskIdentities("github-acme", { ...RUN, selectors: [] }).nearest).toEqual([]);
  });

  it("are earned only by an entry that names each guarded selector", async () => {
    const fork = selectors("github:repository_id:1", "github:event:pull_request", "github:debug:true");
    const guarded = selectors("github:event:pull_request", "github:debug:true");
    await created("unaware");
    await created("half-aware", { selectors: selectors("github:repository_id:1", "github:debug:true") });
    await created("aware", { selectors: fork });
    const found = entries().taskIdentities("github-acme", { ...RUN, selectors: fork, guarded });
    expect(found.identities.map(({ entry }) => entry.id)).toEqual(["aware"]);
    expect(
      found.nearest.map(({ entry, missing, unnamed }) => [entry.id, missing.length, unnamed.length]),
    ).toEqual([
      ["unaware", 0, 2],
      ["half-aware", 0, 1],
    ]);
    // Guarded by something that is not among its selectors, a task earns nothing.
    expect(ids({ ...RUN, guarded: selectors("github:never:seen") })).toEqual([]);
  });

  it("leave out an entry whose template the claims cannot fill, and tell why", async () => {
    await created("ref", { spiffeId: "", idTemplate: "/ci/{ref}" });
    await created("missing", { spiffeId: "", idTemplate: "/ci/x/{nothing}" });
    await created("good", { spiffeId: "", idTemplate: "/ci/ref/{ref+}" });
    const found = entries().taskIdentities("github-acme", RUN);
    expect(found.identities.map(({ spiffeId }) => spiffeId)).toEqual([id("/ci/ref/refs/heads/main")]);
    expect(found.faults.map(({ entry, reason }) => `${entry.id}: ${reason}`)).toEqual([
      expect.stringMatching(/^ref: the value of claim ref is not made of letters/),
      "missing: the evidence has no claim nothing",
    ]);
  });

  it("are never made by claims where the ID is an administrator's or a subordinate server's", async () => {
    await created("branch", { spiffeId: "", idTemplate: "/ci/{ref+}" });
    await created("run", { spiffeId: "", idTemplate: "/ci/{run_id}" });
    for (const [name, flag] of [
      ["root", "admin"],
      ["below", "downstream"],
    ] as const) {
      const path = name === "root" ? "/ci/refs/heads/main" : "/ci/7";
      await created(name, { spiffeId: `spiffe://${OWN}${path}`, parentId: AGENT, [flag]: true });
    }
    const { identities, faults } = entries().taskIdentities("github-acme", RUN);
    expect(identities).toEqual([]);
    expect(faults.map(({ entry, reason }) => `${entry.id}: ${reason}`)).toEqual([
      "branch: the claims make the SPIFFE ID of an administrator or a subordinate server",
      "run: the claims make the SPIFFE ID of an administrator or a subordinate server",
    ]);
  });

  it("come with what came nearest, best first, five at most", async () => {
    for (let n = 0; n < 8; n++) {
      const missing = Array.from({ length: n + 1 }, (_, m) => `github:missing:${m}`);
      await created(`e${n}`, { selectors: selectors("github:repository_id:1", ...missing) });
    }
    await created("unrelated", { selectors: selectors("github:repository_id:9") });
    const { identities, nearest } = entries().taskIdentities("github-acme", RUN);
    expect(identities).toEqual([]);
    expect(nearest.map(({ entry, missing }) => `${entry.id} ${missing.length}`)).toEqual([
      "e0 1",
      "e1 2",
      "e2 3",
      "e3 4",
      "e4 5",
    ]);
  });
});

describe("entries of tasks", () => {
  it("go to no agent, by no way up, and concern none when they change", async () => {
    await created("fixed", { spiffeId: `spiffe://${OWN}/ci` });
    await created("templated", { spiffeId: "", idTemplate: TEMPLATE });
    // An alias of the agent's node with the very ID of the task's entry, and an entry below that.
    await entries().create([
      draft("alias", {
        spiffeId: `spiffe://${OWN}/ci`,
        parentId: `spiffe://${OWN}/spire/server`,
        selectors: selectors(`spiffe_id:${AGENT}`),
      }),
      draft("below", { parentId: `spiffe://${OWN}/ci` }),
    ]);
    for (const agent of [AGENT, id("/spire/agent/x509pop/2")]) {
      const authorized = entries()
        .authorized(agent)
        .map((entry) => entry.id);
      expect(authorized).toEqual(agent === AGENT ? ["below"] : []);
      for (const entryId of ["fixed", "templated"]) {
        expect(entries().authorizedEntry(agent, entryId)).toBeUndefined();
      }
    }
    const fixed = entries().get("fixed");
    const change = { kind: "entry", id: "fixed", before: undefined, after: fixed } as const;
    const templated = { ...change, id: "templated", after: entries().get("templated") };
    const affected = opened.registry.agentsAffectedBy([change]);
    expect(affected.everyone).toBe(false);
    expect(opened.registry.agentsAffectedBy([templated]).agents.size).toBe(0);
    expect(affected.agents.size).toBe(0);
  });

  it("can be several over one prefix, apart by their templates", async () => {
    await created("a", { spiffeId: "", idTemplate: "/ci/{run_id}" });
    await created("b", { spiffeId: "", idTemplate: "/ci/{repository_id}/{run_id}" });
    const again = draft("c", {
      parentId: PARENT,
      selectors: selectors("github:repository_id:1"),
      spiffeId: `spiffe://${OWN}/ci`,
      idTemplate: "/ci/{run_id}",
    });
    expect(await entries().create([again])).toMatchObject([{ outcome: "similar", entry: { id: "a" } }]);
    expect(ids()).toEqual(["a /ci/7", "b /ci/1/7"]);
  });

  it("are the registry's only memory of tasks: tasks and credentials tell its listeners nothing", async () => {
    let told = 0;
    using _ = opened.registry.subscribe(() => told++);
    await opened.store.tasks.open(task("a"), { replayKey: "r", until: 1 });
    await opened.store.tasks.end("a", "job", 1);
    await opened.registry.catchUp();
    expect(opened.registry.sequence).toBe(await opened.store.changes.latest());
    expect(opened.registry.sequence).toBe(2);
    expect(told).toBe(0);
  });
});
