import { basename } from "node:path";
import type { Ledger, LedgerRow, State } from "../../conformance/ledger.ts";
import { documents, STANDARDS_REVISION } from "../../conformance/lines/all.ts";
import { type Level, LEVELS, type StandardDocument } from "../../conformance/lines/document.ts";
import { readings } from "../../conformance/readings.ts";

/** The page `docs/conformance.md`, the same for the same run. */
export function conformancePage({ rows }: Ledger): string {
  return [
    "# Conformance to the SPIFFE standards",
    "",
    "<!-- Written by `npm run conformance` from tests that ran. -->",
    "",
    `Every requirement of the standards at revision \`${STANDARDS_REVISION}\` of`,
    "[spiffe/spiffe](https://github.com/spiffe/spiffe), in our words, with the test that shows it. A line counts as kept",
    "when all tests whose titles begin with its id passed; `npm run conformance` runs them and writes this page, and",
    "fails for a line that has neither a test nor a reason. A MUST or MUST NOT that binds Assay cannot have a mere",
    "reason. WIT-SVIDs and the broker are incubating: they are behind the flags `wit-svid` and `broker`.",
    "",
    ...table(
      ["Level", "Lines", ...STATES.map(([, words]) => words)],
      [...LEVELS.map((level) => countsOf(level, rows)), countsOf(undefined, rows)],
    ),
    "",
    "`def` is a statement without a keyword, `REC` a recommendation without one.",
    "",
    "## Where the standards contradict themselves",
    "",
    ...table(
      ["#", "Where", "Conflict", "How Assay reads it"],
      readings.map(({ id, where, conflict, reading }) => [id, where, conflict, reading]),
    ),
    ...documents.flatMap((document) => section(document, rows)),
    "",
  ].join("\n");
}

function section(
  { prefix, file, incubating, lines }: StandardDocument,
  rows: readonly LedgerRow[],
): string[] {
  const own = new Set(lines.map(({ id }) => id));
  return [
    "",
    `## ${file.replace(/\.md$/, "").replaceAll("_", " ")} (${prefix})`,
    "",
    `[${file}](https://github.com/spiffe/spiffe/blob/${STANDARDS_REVISION}/standards/${file})${incubating ? ", incubating" : ""}`,
    "",
    ...table(
      ["Line", "Level", "Binds", "§", "Requirement", "State", "Test"],
      rows.filter(({ line }) => own.has(line.id)).map(cellsOf),
    ),
  ];
}

function cellsOf({ line, state, why, files }: LedgerRow): string[] {
  return [
    line.id,
    line.level,
    line.binds.join(", "),
    line.section,
    line.requirement,
    why === "" ? state : `${state}: ${why}`,
    files.map((path) => `[${basename(path, ".test.ts")}](../${path})`).join(", "),
  ];
}

function countsOf(level: Level | undefined, rows: readonly LedgerRow[]): string[] {
  const own = rows.filter(({ line }) => level === undefined || line.level === level);
  return [
    level ?? "all",
    String(own.length),
    ...STATES.map(([state]) => String(own.filter((row) => row.state === state).length)),
  ];
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const row = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [row(head), row(head.map(() => "---")), ...body.map(row)];
}

const STATES: readonly (readonly [State, string])[] = [
  ["kept", "Kept"],
  ["not ours", "Not ours"],
  ["documented", "Documented"],
  ["not used", "Not used"],
  ["not kept", "Not kept"],
  ["open", "Open"],
  ["failing", "Failing"],
];
