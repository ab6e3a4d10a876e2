import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "../../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { TestAgent } from "../../fakes/server-agent.ts";
import { ServerBench } from "../../fakes/server-bench.ts";
import { wireBundle } from "../../fakes/server-wire.ts";

interface PageRequest {
  readonly pageSize: number;
  readonly pageToken?: string;
}

type Listing = (page: PageRequest) => Promise<{ readonly names: readonly string[]; readonly next: string }>;

let bench: ServerBench;

beforeAll(async () => {
  bench = await ServerBench.start();
  for (const name of ["a", "b", "c"]) {
    const entry = {
      spiffeId: { trustDomain: "example.org", path: `/${name}` },
      parentId: { trustDomain: "example.org", path: "/node" },
      selectors: [{ type: "unix", value: "uid:1" }],
    };
    await bench.entries.batchCreateEntry({ entries: [entry] });
  }
  for (let n = 0; n < 3; n++) await TestAgent.attest(bench);
  const bundle = ["one.example", "three.example", "two.example"].map((name) => wireBundle(name));
  await bench.bundles.batchSetFederatedBundle({ bundle });
});

afterAll(() => bench?.[Symbol.asyncDispose]());

const LISTINGS: Readonly<Record<string, Listing>> = {
  async ListEntries(page) {
    const { entries, nextPageToken } = await bench.entries.listEntries(page);
    return { names: entries.map(({ id }) => id), next: nextPageToken };
  },
  async ListAgents(page) {
    const { agents, nextPageToken } = await bench.agents.listAgents(page);
    return { names: agents.map(({ id }) => id?.path ?? ""), next: nextPageToken };
  },
  async ListFederatedBundles(page) {
    const { bundles, nextPageToken } = await bench.admin.service(Bundle).listFederatedBundles(page);
    return { names: bundles.map(({ trustDomain }) => trustDomain), next: nextPageToken };
  },
};

describe.each(Object.entries(LISTINGS))("class 13: %s", (name, list) => {
  it("allocates by what is there, not by the size that is asked for", async () => {
    const before = process.memoryUsage();
    expect((await list({ pageSize: 2 ** 31 - 1 })).names).toHaveLength(3);
    const after = process.memoryUsage();
    // 2^31 places would be gigabytes.
    expect(after.heapTotal + after.external - before.heapTotal - before.external).toBeLessThan(256 * 2 ** 20);
  });

  it.each([-1, -(2 ** 31)])("refuses the size %d", async (pageSize) => {
    // 2^31 itself arrives as the latter: the field is a signed 32-bit number.
    await expect(list({ pageSize })).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it.each(["made up", "=", "AAAA====", "YWZ0ZXI6LTE", "YWZ0ZXI6MWUz", "x".repeat(100_000)])(
    "refuses a token that no page gave, or shows nothing twice by it",
    async (pageToken) => {
      const all = (await list({ pageSize: 0 })).names;
      const page = await list({ pageSize: 10, pageToken }).catch((error: unknown) => {
        expect(error).toMatchObject({ status: "INVALID_ARGUMENT" });
        return { names: [] };
      });
      expect(all).toEqual(expect.arrayContaining([...page.names]));
    },
  );

  it("takes a token of another listing for a place at most: nothing foreign is shown", async () => {
    const all = (await list({ pageSize: 0 })).names;
    for (const [other, listOther] of Object.entries(LISTINGS)) {
      if (other === name) continue;
      const { next } = await listOther({ pageSize: 2 });
      expect(next).not.toBe("");
      const page = await list({ pageSize: 10, pageToken: next }).catch((error: unknown) => {
        expect(error).toMatchObject({ status: "INVALID_ARGUMENT" });
        return { names: [] };
      });
      expect(all, `${name} with a token of ${other}`).toEqual(expect.arrayContaining([...page.names]));
    }
  });

  it("goes through everything once, one by one, and ends", async () => {
    const names: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await list({ pageSize: 1, pageToken });
      names.push(...page.names);
      if (page.next === "") break;
      pageToken = page.next;
    }
    expect(names).toEqual((await list({ pageSize: 0 })).names);
  });
});
