import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { TestAgent, wireId } from "../../../test/fakes/server-agent.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { Entry as EntryService } from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { type EntryFields, statuses, wireEntry } from "../../../test/fakes/server-wire.ts";

const PARENT = "spiffe://example.org/spire/task/github-acme";
const TEMPLATE = "/ci/{repository_id}/run/{run_id}";
const FULL = { idTemplate: TEMPLATE, maxTaskDuration: 3600, exchangeAudiences: ["https://a.example"] };
let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
});
afterAll(() => bench[Symbol.asyncDispose]());

let runs = 0;
/** An entry of tasks with selectors of its own, so that none is similar to another. */
function ofTasks(fields: EntryFields = {}): EntryFields {
  return { ...wireEntry(`run-${runs++}`, PARENT), spiffeId: wireId("spiffe://example.org/ci"), ...fields };
}

async function created(fields: EntryFields = {}) {
  const { results } = await bench.entries.batchCreateEntry({ entries: [ofTasks(fields)] });
  expect(statuses(results)).toEqual(["0 OK"]);
  const entry = results[0]?.entry;
  if (entry === undefined) throw new Error("expected an entry");
  return entry;
}

describe("the extension of entries", () => {
  it("goes in and comes out, and its template gives the ID where none is given", async () => {
    const { spiffeId: _, ...nameless } = ofTasks({ assay: FULL });
    const { results } = await bench.entries.batchCreateEntry({ entries: [nameless] });
    expect(statuses(results)).toEqual(["0 OK"]);
    expect(results[0]?.entry).toMatchObject({ spiffeId: { path: "/ci" }, assay: FULL });
    const id = results[0]?.entry?.id ?? "";
    expect((await bench.entries.getEntry({ id })).assay).toMatchObject(FULL);
    expect((await bench.entries.getEntry({ id, outputMask: { hint: true } })).assay).toBeUndefined();
    const masked = await bench.entries.getEntry({ id, outputMask: { assay: true } });
    expect(masked.assay).toMatchObject(FULL);
    expect(masked.spiffeId).toBeUndefined();
  });

  it("is absent where there is nothing in it", async () => {
    expect((await created()).assay).toBeUndefined();
  });

  it("is kept by a full update of a client that has never heard of it", async () => {
    const entry = await created({ assay: FULL });
    const { results } = await bench.entries.batchUpdateEntry({
      entries: [{ ...entry, assay: undefined, hint: "new" }],
    });
    expect(statuses(results)).toEqual(["0 OK"]);
    expect(results[0]?.entry).toMatchObject({ hint: "new", assay: FULL, spiffeId: { path: "/ci" } });
  });

  it("is cleared by an empty one in a full update, and by its bit in a mask", async () => {
    const cleared = async (id: string, change: Parameters<typeof bench.entries.batchUpdateEntry>[0]) => {
      const { results } = await bench.entries.batchUpdateEntry(change);
      expect(statuses(results)).toEqual(["0 OK"]);
      expect(results[0]?.entry?.assay).toBeUndefined();
      expect((await bench.entries.getEntry({ id })).assay).toBeUndefined();
    };
    const fields = ofTasks({ assay: FULL });
    const whole = await created(fields);
    await cleared(whole.id, { entries: [{ ...fields, id: whole.id, assay: {} }] });
    const masked = await created({ assay: FULL });
    await cleared(masked.id, { entries: [{ id: masked.id }], inputMask: { assay: true } });
  });

  it("changes alone where the mask names it alone, the ID with the template", async () => {
    const entry = await created({ assay: FULL, hint: "kept" });
    const { results } = await bench.entries.batchUpdateEntry({
      entries: [{ id: entry.id, hint: "ignored", assay: { idTemplate: "/builds/{run_id}" } }],
      inputMask: { assay: true },
    });
    expect(results[0]?.entry).toMatchObject({
      hint: "kept",
      spiffeId: { path: "/builds" },
      assay: { idTemplate: "/builds/{run_id}", maxTaskDuration: 0, exchangeAudiences: [] },
    });
    const untouched = await bench.entries.batchUpdateEntry({
      entries: [{ id: entry.id, hint: "new", assay: FULL }],
      inputMask: { hint: true },
    });
    expect(untouched.results[0]?.entry?.assay?.idTemplate).toBe("/builds/{run_id}");
  });

  it.each<[string, EntryFields, RegExp]>([
    ["no ID and an empty template", { spiffeId: undefined, assay: {} }, /^3 spiffe_id: request must specify/],
    ["a template that can leave /ci", { assay: { idTemplate: "/{a}" } }, /^3 idTemplate: /],
    [
      "a template beside another ID",
      { spiffeId: wireId("spiffe://example.org/x"), assay: FULL },
      /^3 spiffeId: /,
    ],
    ["a negative longest task", { assay: { ...FULL, maxTaskDuration: -1 } }, /^3 maxTaskDuration: /],
    ["an empty audience", { assay: { exchangeAudiences: [""] } }, /^3 exchangeAudiences\/0: /],
    ["an administrator by template", { admin: true, assay: FULL }, /^3 admin: /],
    [
      "an agent for parent",
      { parentId: wireId("spiffe://example.org/spire/agent/x509pop/p"), assay: FULL },
      /^3 idTemplate: /,
    ],
  ])("is refused with %s", async (_, fields, status) => {
    const { results } = await bench.entries.batchCreateEntry({ entries: [ofTasks(fields)] });
    expect(statuses(results)[0]).toMatch(status);
  });

  it("never comes to an agent with an entry of tasks, whatever the agent asks", async () => {
    const agent = await TestAgent.attest(bench);
    const entry = await created({ assay: FULL });
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("own", agent.id, { assay: { exchangeAudiences: ["https://a.example"] } })],
    });
    const own = results[0]?.entry?.id;
    const authorized = await agent.client.service(EntryService).getAuthorizedEntries({});
    expect(authorized.entries.map(({ id, assay }) => [id, assay])).toEqual([[own, undefined]]);
    const csr = makeCsr({});
    const signed = await agent.client.service(SVID).batchNewX509SVID({
      params: [
        { entryId: entry.id, csr },
        { entryId: own ?? "", csr },
      ],
    });
    expect(signed.results.map(({ status }) => status?.code)).toEqual([5, 0]);
  });
});
