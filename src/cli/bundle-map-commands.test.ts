import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import { ServerBench } from "../../test/fakes/server-bench.ts";
import { wireBundle } from "../../test/fakes/server-wire.ts";
import { parseBundleMap } from "../crypto/bundle-map.ts";

let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
  await bench.bundles.batchSetFederatedBundle({
    bundle: [wireBundle("one.example"), wireBundle("two.example")],
  });
});
afterAll(() => bench?.[Symbol.asyncDispose]());

const run = (...args: string[]) =>
  runCommand(["bundle", "map", ...args, "--admin-socket", bench.path("admin.sock")]);
const shown = async () => [...parseBundleMap(Buffer.from((await run("show")).stdout)).keys()];

describe("assay bundle map", () => {
  it("writes the own bundle and all foreign ones, and reads them back", async () => {
    expect(await shown()).toEqual(["example.org", "one.example", "two.example"]);
    const { stdout } = await run("show");
    const file = bench.path("map.json");
    await writeFile(file, stdout);
    expect(await run("set", "--file", file)).toMatchObject({ code: 0, stdout: "set 2 bundles\n" });
    expect((await run("show")).stdout).toBe(stdout);
  });

  it("keeps what a map has not, unless it is told to prune", async () => {
    const { stdout } = await run("show", "--output", "json");
    const map = JSON.parse(stdout) as { trust_domains: Record<string, unknown> };
    const file = bench.path("smaller.json");
    const { "two.example": two } = map.trust_domains;
    await writeFile(file, JSON.stringify({ trust_domains: { "two.example": two } }));
    await run("set", "--file", file);
    expect(await shown()).toEqual(["example.org", "one.example", "two.example"]);
    const pruned = await run("set", "--file", file, "--prune", "restrict");
    expect(pruned.stdout).toBe("set 1 bundles; deleted those of one.example\n");
    expect(await shown()).toEqual(["example.org", "two.example"]);
  });

  it("refuses what is no map, and sets nothing of it", async () => {
    const file = bench.path("bad.json");
    await writeFile(file, '{"trust_domains":{"a.example":{"keys":[]},"a.example":{"keys":[]}}}');
    const { code, stderr } = await run("set", "--file", file);
    expect([code, stderr]).toEqual([2, expect.stringContaining("twice")]);
    expect(await shown()).toEqual(["example.org", "two.example"]);
  });
});
