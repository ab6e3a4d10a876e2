import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const COLLECTOR = fileURLToPath(new URL("./collector.cjs", import.meta.url));
const run = (script: string) => promisify(execFile)(process.execPath, ["-e", script, COLLECTOR]);

describe("tuneCollector", () => {
  it("asks for flags that the engine knows", async () => {
    const { stderr } = await run("require(process.argv[1]).tuneCollector()");
    expect(stderr).toBe("");
  });

  it("would be told of a flag that the engine does not know", async () => {
    const { stderr } = await run('require("v8").setFlagsFromString("--no-such-flag-of-the-engine")');
    expect(stderr).toContain("no-such-flag-of-the-engine");
  });

  it("was looked at on this Node", () => {
    const { NEWEST_NODE } = createRequire(import.meta.url)(COLLECTOR) as { NEWEST_NODE: number };
    expect(Number.parseInt(process.versions.node, 10)).toBeLessThanOrEqual(NEWEST_NODE);
  });

  it("leaves a newer engine as it is", async () => {
    const { stdout } = await run(`
      Object.defineProperty(process, "versions", { value: { node: "99.0.0" } });
      require("v8").setFlagsFromString = () => console.log("set");
      require(process.argv[1]).tuneCollector();
    `);
    expect(stdout).toBe("");
  });
});
