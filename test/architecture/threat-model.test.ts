import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const DOCS = join(import.meta.dirname, "..", "..", "docs");
const text = readFileSync(join(DOCS, "threat-model.md"), "utf8");

/** The rows of the table of classes: number, what keeps it out, and the files of its tests. */
const rows = [...text.matchAll(/^\| (\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$/gm)].map(
  ([, number = "", name = "", defence = "", tests = ""]) => ({
    number: Number(number),
    name: name.trim(),
    defence: defence.trim(),
    tests: [...tests.matchAll(/\]\(([^)]+)\)/g)].map(([, link = ""]) => link),
  }),
);

/** The classes that touch what is built; the others may be open. */
const BUILT = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

describe("the threat model", () => {
  it("has a row for each of the twenty classes, in order", () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  it.each(rows)("says of class $number, $name, what keeps it out or that it is open", ({ defence }) => {
    expect(defence).not.toBe("");
  });

  it.each(rows)("names tests of class $number that are there, and are tests", ({ tests }) => {
    expect(tests.filter((link) => !link.endsWith(".test.ts"))).toEqual([]);
    expect(tests.filter((link) => !existsSync(join(DOCS, link)))).toEqual([]);
  });

  it.each(rows)("has a test for class $number, or calls it open", ({ number, defence, tests }) => {
    if (BUILT.includes(number)) expect(defence).not.toMatch(/\*\*open\*\*/);
    if (!defence.includes("**open**")) expect(tests).not.toEqual([]);
  });
});

describe.each(["threat-model.md", "SECURITY.md", "CONTRIBUTING.md"])("%s", (name) => {
  it("links to pages and files that are there", () => {
    const links = [...readFileSync(join(DOCS, name), "utf8").matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)];
    const missing = links.map(([, link = ""]) => link).filter((link) => !existsSync(join(DOCS, link)));
    expect(missing).toEqual([]);
  });

  it("names no script of npm that is not there", () => {
    const { scripts } = JSON.parse(readFileSync(join(DOCS, "..", "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    const named = [...readFileSync(join(DOCS, name), "utf8").matchAll(/`npm run ([a-z:]+)/g)];
    expect(named.map(([, script = ""]) => script).filter((script) => !(script in scripts))).toEqual([]);
  });
});
