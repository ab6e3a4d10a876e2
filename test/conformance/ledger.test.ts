import { describe, expect, it } from "vitest";
import { lineOf, makeLedger } from "./ledger.ts";
import { documents, linesById } from "./lines/all.ts";
import { LEVELS } from "./lines/document.ts";
import { bindsUs } from "./parties.ts";
import { readings } from "./readings.ts";
import { reasons } from "./reasons.ts";

describe("the lines of the standards", () => {
  it.each([
    // MUST, MUST NOT, SHOULD, SHOULD NOT, MAY, def and REC.
    ["ID", 12, 6, 1, 2, 1, 5],
    ["XS", 22, 5, 4, 0, 8, 4],
    ["JS", 16, 2, 3, 0, 2, 6],
    ["WS", 28, 6, 4, 2, 10, 1],
    ["TB", 14, 2, 3, 1, 3, 8],
    ["FE", 29, 6, 17, 2, 7, 7],
    ["WE", 11, 6, 6, 2, 2, 3],
    ["WA", 27, 3, 23, 2, 8, 14],
    ["BE", 11, 1, 3, 2, 0, 6],
    ["BA", 56, 11, 14, 0, 8, 0],
  ])("are as many in %s as were counted", (prefix, ...wanted) => {
    const lines = documents.find((document) => document.prefix === prefix)?.lines ?? [];
    const counts = LEVELS.map((level) => lines.filter((line) => line.level === level).length);
    const [def = 0, recommended = 0] = counts.splice(5);
    expect([...counts, def + recommended]).toEqual(wanted);
  });

  it("are 468, each with an id of its own", () => {
    expect(linesById.size).toBe(468);
    expect(documents.flatMap(({ lines }) => lines)).toHaveLength(468);
  });

  it("are read in thirteen places against another line", () => {
    expect(readings.map(({ id }) => id)).toEqual(Array.from({ length: 13 }, (_, i) => `C${i + 1}`));
  });
});

describe("the ledger", () => {
  const file = "test/conformance/planted.test.ts";

  it("calls a line kept when all its tests passed", () => {
    const { rows } = makeLedger([
      { title: "ID-01 a", file, status: "passed" },
      { title: "ID-01 b", file, status: "passed" },
    ]);
    expect(rows[0]).toMatchObject({ state: "kept", files: [file] });
  });

  it.each(["failed", "skipped", "pending", "todo"])("does not let a %s test pass for one", (status) => {
    const { rows, problems } = makeLedger([
      { title: "ID-01 a", file, status: "passed" },
      { title: "ID-01 b", file, status },
    ]);
    expect(rows[0]?.state).toBe("failing");
    expect(problems).toContain(`${file}: ${status}: ID-01 b`);
  });

  it("finds a line with neither test nor reason", () => {
    const { rows, problems } = makeLedger([]);
    expect(rows[0]?.state).toBe("open");
    expect(problems).toContain("ID-01: neither a test nor a reason");
  });

  it.each(["ID-99 x", "ZZ-01 x", "is about nothing", "WA-1 x"])("finds a title of no line: %s", (title) => {
    const { problems } = makeLedger([{ title, file, status: "passed" }]);
    expect(problems).toContain(`${file}: title begins with no line of the standards: ${title}`);
  });

  it("finds a reason that a test has made needless", () => {
    const [id = ""] = reasons[0]?.lines ?? [];
    const { problems } = makeLedger([{ title: `${id} x`, file, status: "passed" }]);
    expect(problems).toContain(`${id}: has tests, so it needs no reason`);
  });

  it("has a reason only for lines that there are, once, and for no MUST of ours", () => {
    const { problems } = makeLedger([]);
    expect(problems.filter((problem) => !problem.endsWith(": neither a test nor a reason"))).toEqual([]);
  });

  it("knows whom it is bound by", () => {
    const bound = (id: string) => bindsUs(linesById.get(id) ?? expect.fail(id));
    expect(["WE-13", "FE-19", "WS-37", "BA-06"].map(bound)).toEqual([true, true, true, true]);
    expect(["BA-08", "BE-10", "TB-16", "JS-20"].map(bound)).toEqual([false, false, false, false]);
  });

  it("reads the line that a title begins with", () => {
    expect(lineOf("WA-34 has the own trust domain")).toBe("WA-34");
    expect(lineOf("WA-34: the own trust domain is there")).toBe("WA-34");
    expect(lineOf("see WA-34")).toBeUndefined();
    expect(lineOf("WA-340 x")).toBeUndefined();
  });
});
