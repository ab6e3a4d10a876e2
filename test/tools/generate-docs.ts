/**
 * Writes the documents that code knows better than people: `node test/tools/generate-docs.ts`. With `--check` nothing
 * is written; it fails with the names of those that are not as they would be written.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeConfig } from "../../src/config/describe.ts";
import { describeAuditLog } from "./docs/audit-log.ts";
import { describeErrors } from "./docs/errors.ts";
import { openApiDocuments } from "./docs/openapi.ts";

/** One generated document. */
interface Generated {
  /** Path from the top of the repository. */
  readonly path: string;
  readonly content: () => string | Promise<string>;
}

const ROOT = join(import.meta.dirname, "..", "..");

const DOCUMENTS: readonly Generated[] = [
  { path: "docs/configuration.md", content: describeConfig },
  { path: "docs/errors.md", content: describeErrors },
  { path: "docs/audit-log.md", content: describeAuditLog },
  { path: "docs/module-graph.txt", content: moduleGraph },
  ...openApiDocuments.map(({ path, document }) => ({
    path,
    content: async () => `${JSON.stringify(await document(), undefined, 2)}\n`,
  })),
];

process.exitCode = await run(process.argv.slice(2));

async function run(flags: readonly string[]): Promise<number> {
  const unknown = flags.find((flag) => flag !== "--check");
  if (unknown !== undefined) {
    console.error(`generate-docs: unknown argument ${unknown}, expected --check or nothing`);
    return 2;
  }
  const stale: string[] = [];
  for (const { path, content } of DOCUMENTS) {
    const file = join(ROOT, path);
    const wanted = await content();
    if (existsSync(file) && readFileSync(file, "utf8") === wanted) continue;
    stale.push(path);
    if (flags.includes("--check")) continue;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, wanted);
  }
  if (!flags.includes("--check")) {
    console.log(stale.length === 0 ? "all documents were fresh" : `written: ${stale.join(", ")}`);
    return 0;
  }
  if (stale.length === 0) return 0;
  console.error(`stale: ${stale.join(", ")} (run npm run docs and commit what it writes)`);
  return 1;
}

function moduleGraph(): string {
  const config = join(ROOT, "test/architecture/dependency-cruiser.cjs");
  if (!existsSync(config)) {
    throw new Error(
      "test/architecture/dependency-cruiser.cjs is missing: the module graph cannot be drawn without it",
    );
  }
  const tool = join(ROOT, "node_modules/.bin/depcruise");
  // Only the application's own edges: what a library imports changes with every update of it.
  const args = ["--config", config, "--include-only", "^src", "-T", "text", "src"];
  const graph = execFileSync(tool, args, {
    cwd: ROOT,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  return `${graph.trim().split("\n").toSorted().join("\n")}\n`;
}
