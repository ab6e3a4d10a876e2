import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, run } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

/** Milliseconds: a build, a package and an installation with its own Node. */
const PATIENCE = 240_000;

describe("the package", () => {
  let scratch: Scratch;
  let version: string;

  beforeAll(async () => {
    scratch = await makeScratch();
    version = (JSON.parse(await readFile("package.json", "utf8")) as { version: string }).version;
    await output("npm", ["run", "--silent", "build"], { patience: PATIENCE });
    const packed = await output(
      "npm",
      ["pack", "--json", "--loglevel=error", `--pack-destination=${scratch.path}`],
      { patience: PATIENCE },
    );
    const [{ filename } = { filename: "" }] = packages(JSON.parse(packed));
    await output(
      "npm",
      [
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        `--prefix=${scratch.at("app")}`,
        scratch.at(filename),
      ],
      { patience: PATIENCE, cwd: scratch.path },
    );
  }, PATIENCE * 2);

  afterAll(async () => {
    await scratch?.[Symbol.asyncDispose]();
  });

  it("installs a command that runs where the checkout is not", async () => {
    const assay = scratch.at("app", "node_modules", ".bin", "assay");
    const { code, stdout, stderr } = await run(assay, ["--version"], { cwd: scratch.path });
    expect(stderr).toBe("");
    expect(stdout).toContain(version);
    expect(code).toBe(0);
  });

  it("exits 2 for a command that does not exist, as the checkout does", async () => {
    const assay = scratch.at("app", "node_modules", ".bin", "assay");
    expect((await run(assay, ["no-such-command"], { cwd: scratch.path })).code).toBe(2);
  });

  it("offers the plugin contracts to third parties", async () => {
    const program =
      'import * as plugin from "@assay/assay/plugin"; console.log(typeof plugin.defineNodeAttestor);';
    const shown = await output(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: scratch.at("app"),
    });
    expect(shown.trim()).toBe("function");
  });

  it("offers the client to Node programs, without loading the store that only servers need", async () => {
    const program = [
      'import * as workload from "@assay/assay/workload";',
      "console.log(typeof workload.openX509Source, typeof workload.createHttpsAgent);",
      'await workload.openX509Source({ address: "http://x" }).catch(({ code }) => console.log(code));',
      "console.log(process.moduleLoadList.some((name) => /sqlite/.test(name)));",
    ].join("\n");
    const shown = await output(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: scratch.at("app"),
    });
    expect(shown.trim().split("\n")).toEqual(["function function", "CONFIG_INVALID", "false"]);
  });

  it("carries no test", async () => {
    const root = join("node_modules", "@assay", "assay");
    const { stdout } = await run(
      "find",
      [root, "-path", "*/node_modules/*/node_modules", "-prune", "-o", "-name", "*.test.*", "-print"],
      {
        cwd: scratch.at("app"),
      },
    );
    expect(stdout).toBe("");
  });
});

/** What `npm pack --json` prints: a list, or from npm 12 on an object by package name. */
function packages(answer: unknown): { filename: string }[] {
  return Object.values(answer as Record<string, { filename: string }>);
}
