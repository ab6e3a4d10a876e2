import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import {
  type SyncAuthorizedEntriesRequestSchema,
  SyncAuthorizedEntriesResponseSchema,
} from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { encode } from "../../rpc/service-definition.ts";

type Request = MessageInitShape<typeof SyncAuthorizedEntriesRequestSchema>;

let bench: ServerBench;
let few: TestAgent;
let many: TestAgent;
let none: TestAgent;
let manyIds: readonly string[];
beforeAll(async () => {
  bench = await ServerBench.start();
  [few, many, none] = [
    await TestAgent.attest(bench),
    await TestAgent.attest(bench),
    await TestAgent.attest(bench),
  ];
  await add(few, 500);
  manyIds = await add(many, 1101);
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("SyncAuthorizedEntries", () => {
  it("sends an empty message of no bytes where there are no entries, then ends", async () => {
    const sync = begin(none);
    await sync.ask({});
    const answer = await sync.answer();
    expect(
      encode(SyncAuthorizedEntriesResponseSchema, create(SyncAuthorizedEntriesResponseSchema, answer)),
    ).toHaveLength(0);
    await sync.isOver();
  });

  it("sends up to 500 entries whole in one message, then ends without waiting for the client", async () => {
    const sync = begin(few);
    await sync.ask({});
    const answer = await sync.answer();
    expect(answer).toMatchObject({ more: false, entryRevisions: [] });
    expect(answer.entries).toHaveLength(500);
    expect(answer.entries[0]).toMatchObject({
      spiffeId: { path: expect.any(String) as string },
      selectors: [{}],
    });
    await sync.isOver();
  });

  it("sends the revisions of more in pages of 500, then what is asked for, until the client ends", async () => {
    const sync = begin(many);
    await sync.ask({ outputMask: { revisionNumber: true, hint: true } });
    const pages = [await sync.answer(), await sync.answer(), await sync.answer()];
    expect(
      pages.map(({ more, entryRevisions, entries }) => [more, entryRevisions.length, entries.length]),
    ).toEqual([
      [true, 500, 0],
      [true, 500, 0],
      [false, 101, 0],
    ]);
    expect(pages.flatMap(({ entryRevisions }) => entryRevisions.map(({ id }) => id))).toEqual(manyIds);
    expect(pages[0]?.entryRevisions[0]?.createdAt).toBeGreaterThan(0n);

    await sync.ask({ ids: manyIds.slice(0, 800), outputMask: {} });
    const [first, second] = [await sync.answer(), await sync.answer()];
    expect([first.entries.length, first.more, second.entries.length, second.more]).toEqual([
      500,
      true,
      300,
      false,
    ]);
    // The mask of the first request counts, that of a later one does not.
    expect(first.entries[0]).toMatchObject({ id: manyIds[0], hint: "h", selectors: [] });
    expect(first.entries[0]?.spiffeId).toBeUndefined();

    for (const ids of [[], ["none", "neither"]]) {
      await sync.ask({ ids });
      expect(await sync.answer()).toMatchObject({ entries: [], entryRevisions: [], more: false });
    }
    await sync.ask({ ids: ["none", manyIds[1100] ?? ""] });
    expect((await sync.answer()).entries.map(({ id }) => id)).toEqual([manyIds[1100]]);
    sync.end();
    await sync.isOver();
  });

  it("does not show entries of another agent to who asks for their ids", async () => {
    const sync = begin(many);
    const { entries } = await few.entries.getAuthorizedEntries({});
    await sync.ask({});
    for (let more = true; more; ) ({ more } = await sync.answer());
    await sync.ask({ ids: [entries[0]?.id ?? ""] });
    expect((await sync.answer()).entries).toEqual([]);
    sync.end();
  });

  it.each([
    ["a mask without the revision", { outputMask: { spiffeId: true } }, "revision number cannot be masked"],
    ["an empty mask", { outputMask: {} }, "revision number cannot be masked"],
    ["ids in the first request", { ids: ["a"] }, "specifying IDs on initial request is not supported"],
  ])("refuses %s", async (_, request, detail) => {
    const sync = begin(few);
    await sync.ask(request);
    await expect(sync.answer()).rejects.toMatchObject({ status: "INVALID_ARGUMENT", detail });
  });

  it("ends with OK where the client says nothing", async () => {
    const sync = begin(few);
    sync.end();
    await sync.isOver();
  });

  it("leaves nothing behind when the client goes away in the middle", async () => {
    const sync = begin(many);
    await sync.ask({});
    await sync.answer();
    sync.cancel();
    await expect(begin(none).ask({})).resolves.toBeUndefined();
  });
});

describe("GetAuthorizedEntries", () => {
  it("gives all of the agent's and no other, masked as asked", async () => {
    const { entries } = await many.entries.getAuthorizedEntries({ outputMask: {} });
    expect(entries.map(({ id }) => id)).toEqual(manyIds);
    expect(entries[0]).toMatchObject({ selectors: [], hint: "" });
    expect((await none.entries.getAuthorizedEntries({})).entries).toEqual([]);
  });
});

function begin(agent: TestAgent) {
  const call = agent.entries.syncAuthorizedEntries();
  const answers = call[Symbol.asyncIterator]();
  return {
    ask: (request: Request) => call.send(request),
    end: () => call.end(),
    cancel: () => call.cancel(),
    async answer() {
      const { value, done } = await answers.next();
      if (done === true) throw new Error("the conversation is over");
      return value;
    },
    async isOver() {
      expect((await answers.next()).done).toBe(true);
    },
  };
}

async function add(agent: TestAgent, count: number): Promise<readonly string[]> {
  const name = agent.id.slice(-8);
  const { results } = await bench.entries.batchCreateEntry({
    entries: Array.from({ length: count }, (_, n) => wireEntry(`${name}/${n}`, agent.id, { hint: "h" })),
  });
  return results.map(({ entry }) => entry?.id ?? "");
}
