import { documents, linesById } from "./lines/all.ts";
import type { Line } from "./lines/document.ts";
import { bindsUs } from "./parties.ts";
import { type Reason, reasons } from "./reasons.ts";

/** One test of a run, as far as the ledger looks at it. */
export interface RanTest {
  /** Without the titles around it. */
  readonly title: string;
  /** Path of the file from the top of the repository. */
  readonly file: string;
  readonly status: string;
}

/** Where a line stands: its tests passed, a reason is given, it has neither, or a test of it did not pass. */
export type State = "kept" | Reason["kind"] | "open" | "failing";

/** One line with what is known about it. */
export interface LedgerRow {
  readonly line: Line;
  readonly state: State;
  /** Why there is no test, as Markdown; empty for other states. */
  readonly why: string;
  /** Files with tests of the line, each once. */
  readonly files: readonly string[];
}

/** All lines and everything that is wrong with them. */
export interface Ledger {
  readonly rows: readonly LedgerRow[];
  /** One sentence each; none if the ledger may be signed. */
  readonly problems: readonly string[];
}

/** Joins the lines with the tests of a run and with the reasons. */
export function makeLedger(tests: readonly RanTest[]): Ledger {
  const problems: string[] = [];
  const byLine = new Map<string, RanTest[]>();
  for (const test of tests) {
    const id = lineOf(test.title);
    if (id === undefined || !linesById.has(id)) {
      if (!SELF_TESTS.test(test.file)) {
        problems.push(`${test.file}: title begins with no line of the standards: ${test.title}`);
      }
      if (test.status !== "passed") problems.push(`${test.file}: ${test.status}: ${test.title}`);
      continue;
    }
    byLine.set(id, [...(byLine.get(id) ?? []), test]);
    if (test.status !== "passed") problems.push(`${test.file}: ${test.status}: ${test.title}`);
  }
  const given = reasonsByLine(problems);
  const rows = documents
    .flatMap(({ lines }) => lines)
    .map((line) => rowOf(line, byLine.get(line.id) ?? [], given.get(line.id), problems));
  return { rows, problems };
}

/** The id that a title begins with. */
export function lineOf(title: string): string | undefined {
  return /^([A-Z]{2}-\d{2})(?=:? )/.exec(title)?.[1];
}

function rowOf(
  line: Line,
  tests: readonly RanTest[],
  reason: Reason | undefined,
  problems: string[],
): LedgerRow {
  const files = [...new Set(tests.map(({ file }) => file))].toSorted();
  if (tests.length > 0) {
    if (reason !== undefined) problems.push(`${line.id}: has tests, so it needs no reason`);
    const state = tests.every(({ status }) => status === "passed") ? "kept" : "failing";
    return { line, state, why: "", files };
  }
  if (reason === undefined) {
    problems.push(`${line.id}: neither a test nor a reason`);
    return { line, state: "open", why: "", files };
  }
  const fault = reasonFault(line, reason);
  if (fault !== undefined) problems.push(`${line.id}: ${fault}`);
  return { line, state: reason.kind, why: reason.why, files };
}

/** A reason is not an excuse: what obliges us without exception needs a test. */
function reasonFault(line: Line, { kind }: Reason): string | undefined {
  const ours = bindsUs(line);
  if (kind === "not ours" && ours) return "binds a party that Assay is, so it is not somebody else's";
  if ((line.level === "MUST" || line.level === "MUST NOT") && ours) {
    return "obliges us without exception, so it needs a test and not a reason";
  }
  if (kind === "not used" && line.level !== "MAY") return "only what MAY be done can be left unused";
  return undefined;
}

function reasonsByLine(problems: string[]): ReadonlyMap<string, Reason> {
  const found = new Map<string, Reason>();
  for (const reason of reasons) {
    for (const id of reason.lines) {
      if (!linesById.has(id)) problems.push(`${id}: a reason for a line that there is not`);
      if (found.has(id)) problems.push(`${id}: has two reasons`);
      found.set(id, reason);
    }
  }
  return found;
}

/** Tests of the ledger itself, whose titles name no line. */
const SELF_TESTS = /^test\/conformance\/ledger\.test\.ts$/;
