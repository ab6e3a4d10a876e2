import { describe, expect, it } from "vitest";
import { commandOf, MAKES, parsePlan, turns } from "../../bench/compare/plan.ts";

const names = (measures: readonly { readonly name: string }[]) => measures.map(({ name }) => name);

describe("the plan of a comparison", () => {
  it("is all measures of both servers in four rounds unless told", () => {
    const plan = parsePlan([]);
    expect(plan).toMatchObject({
      makes: ["assay", "spire"],
      rounds: 4,
      seconds: 10,
      strict: false,
      page: undefined,
    });
    expect(names(plan.throughput)).toEqual(["x509-1", "x509-10", "x509-50", "x509-100", "jwt"]);
    expect(names(plan.latency)).toEqual(["x509-1/latency", "x509-50/latency", "jwt/latency"]);
    expect(plan.throughput.map(({ inflight }) => inflight)).toEqual([16, 16, 16, 16, 64]);
  });

  it("is short when it is to be quick, and flags win", () => {
    expect(parsePlan(["--quick"])).toMatchObject({ rounds: 1, seconds: 2, retakes: 0 });
    expect(parsePlan(["--quick", "--rounds=3", "--seconds=0.5"])).toMatchObject({ rounds: 3, seconds: 0.5 });
  });

  it("writes the page into docs/ or where it is told", () => {
    expect(parsePlan(["--write"]).page).toMatch(/\/docs\/benchmarks\.md$/);
    expect(parsePlan(["--page=elsewhere.md", "--write"]).page).toBe("elsewhere.md");
  });

  it("is told on the page without the files of the machine", () => {
    expect(commandOf([])).toBe("npm run bench");
    expect(commandOf(["--page", "a.md", "--rounds=3", "--json=b.json", "--write"])).toBe(
      "npm run bench -- --rounds 3 --write",
    );
  });

  it("measures what a latency is half of", () => {
    const plan = parsePlan(["--measure=jwt/latency", "--only=assay"]);
    expect(plan.makes).toEqual(["assay"]);
    expect(names(plan.throughput)).toEqual(["jwt"]);
    expect(names(plan.latency)).toEqual(["jwt/latency"]);
  });

  it.each([
    [["--rounds=0"], "--rounds is a number above 0"],
    [["--rounds=1.5"], "--rounds is a whole number"],
    [["--seconds=soon"], "--seconds is a number above 0, not soon"],
    [["--seconds=-1"], "--seconds is a number above 0"],
    [["--seconds=Infinity"], "--seconds is a number above 0"],
    [["--only=vault"], "--only is assay or spire, not vault"],
    [["--measure=x509-2"], "no measure is called x509-2"],
    [["--write", "--only=assay"], "a page is of the whole comparison"],
    [["--write", "--measure=jwt"], "a page is of the whole comparison"],
    [["--fast"], "Unknown option '--fast'"],
    [["fast"], "Unexpected argument 'fast'"],
  ])("is refused for %j", (args, message) => {
    expect(() => parsePlan(args)).toThrow(message);
  });

  it("lets the other go first in each round", () => {
    expect([0, 1, 2, 3].map((round) => turns(MAKES, round).join())).toEqual([
      "assay,spire",
      "spire,assay",
      "assay,spire",
      "spire,assay",
    ]);
    expect(turns(["spire"], 1)).toEqual(["spire"]);
  });
});
