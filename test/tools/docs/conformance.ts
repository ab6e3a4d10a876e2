/**
 * Runs the conformance tests and writes `docs/conformance.md` from what they showed: `npm run conformance`. With
 * `--check` the page is not written but must be as it would be. With `--report FILE` the tests have run already and
 * vitest's JSON report of them is in that file. Fails where the ledger has a problem.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { makeLedger, type RanTest } from "../../conformance/ledger.ts";
import { documents } from "../../conformance/lines/all.ts";
import { conformancePage } from "./conformance-page.ts";

/** As much of vitest's JSON report as is read here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly title: string; readonly status: string }[];
  }[];
}

const ROOT = join(import.meta.dirname, "..", "..", "..");
const OPEN = ": neither a test nor a reason";
const PAGE = join(ROOT, "docs", "conformance.md");

const { values } = parseArgs({ options: { check: { type: "boolean" }, report: { type: "string" } } });
process.exitCode = conclude(readReport(values.report ?? runTests()), values.check === true);

function conclude(report: Report, checkOnly: boolean): number {
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status !== "passed" && assertionResults.length === 0,
  );
  const ledger = makeLedger(testsOf(report));
  const page = conformancePage(ledger);
  const stale = !existsSync(PAGE) || readFileSync(PAGE, "utf8") !== page;
  if (stale && !checkOnly) writeFileSync(PAGE, page);
  const problems = [
    ...broken.map(({ name, message = "" }) => `${relative(ROOT, name)}: did not run: ${message}`),
    ...ledger.problems,
    ...(stale && checkOnly ? ["docs/conformance.md is stale (run npm run conformance and commit it)"] : []),
  ];
  for (const problem of problems.filter((text) => !text.endsWith(OPEN))) console.error(problem);
  for (const { prefix } of documents) {
    const open = problems.filter((text) => text.startsWith(prefix) && text.endsWith(OPEN));
    const ids = open.map((text) => text.slice(0, -OPEN.length));
    if (ids.length > 0) console.error(`${ids.join(" ")}${OPEN}`);
  }
  const kept = ledger.rows.filter(({ state }) => state === "kept").length;
  const open = ledger.rows.filter(({ state }) => state === "open" || state === "failing").length;
  console.log(`${ledger.rows.length} lines, ${kept} kept, ${open} open; ${problems.length} problems`);
  return problems.length === 0 ? 0 : 1;
}

function testsOf({ testResults }: Report): readonly RanTest[] {
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ title, status }) => ({ title, status, file: relative(ROOT, name) })),
  );
}

function runTests(): string {
  const folder = join(ROOT, ".assay");
  mkdirSync(folder, { recursive: true });
  const report = join(folder, "conformance.json");
  spawnSync(
    process.execPath,
    [
      join(ROOT, "node_modules", "vitest", "vitest.mjs"),
      "run",
      "--config=test/vitest.config.ts",
      "--root=.",
      "--project=conformance",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ],
    { cwd: ROOT, stdio: "inherit" },
  );
  return report;
}

function readReport(path: string): Report {
  return JSON.parse(readFileSync(path, "utf8")) as Report;
}
