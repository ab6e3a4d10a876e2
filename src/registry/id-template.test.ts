import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pathOf, spiffeIdFault } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { fillIdTemplate, parseIdTemplate, prefixIdOf } from "./id-template.ts";

const OWN = parseTrustDomain("example.org");

function filled(template: string, claims: Record<string, string>) {
  const result = fillIdTemplate(parseIdTemplate(template), OWN, claims);
  return "fault" in result ? result.fault : pathOf(result.spiffeId);
}

describe("parseIdTemplate", () => {
  it.each([
    ["/ci/{run_id}", "/ci"],
    ["/ci/{repository_id}/run/{run_id}/{run_attempt}", "/ci"],
    ["/ci/acme/run-{run_id}", "/ci/acme"],
    ["/ci/{project_path+}", "/ci"],
    ["/ci/{project_path+}/job/{job_id}", "/ci"],
    ["/a.b/c_d/-/v{kubernetes.io:pod-uid}.x", "/a.b/c_d/-"],
    ["/spires/{a}", "/spires"],
  ])("finds where all IDs of %s lie", (text, prefix) => {
    const template = parseIdTemplate(text);
    expect(template.prefix).toBe(prefix);
    expect(prefixIdOf(template, OWN)).toBe(`spiffe://example.org${prefix}`);
  });

  it.each([
    ["", /leading slash/],
    ["ci/{a}", /leading slash/],
    ["/ci/a", /expected a claim/],
    ["/{a}", /first segment without a claim/],
    ["/x{a}/b", /first segment without a claim/],
    ["/{a+}/b", /first segment without a claim/],
    ["/spire/{a}", /reserved/],
    ["/spire/task/{a}", /reserved/],
    ["/ci//{a}", /empty segments/],
    ["/ci/{a}/", /empty segments/],
    ["/ci/../{a}", /dot segments/],
    ["/ci/{a}/.", /dot segments/],
    ["/ci/{a}{b}", /one claim to a segment/],
    ["/ci/{a}-{b}", /one claim to a segment/],
    ["/ci/{a", /one claim to a segment/],
    ["/ci/a}", /one claim to a segment/],
    ["/ci/{}", /one claim to a segment/],
    ["/ci/{{a}}", /one claim to a segment/],
    ["/ci/{a b}", /one claim to a segment/],
    ["/ci/{a/b}", /one claim to a segment/],
    ["/ci/{a++}", /one claim to a segment/],
    ["/ci/x{a+}", /\{name\+\} as a whole segment/],
    ["/ci/{a+}/{b+}", /at most one \{name\+\}/],
    ["/ci/a b/{a}", /path segment characters/],
    ["/ci/%2e/{a}", /path segment characters/],
    ["/ci/\u00e9/{a}", /path segment characters/],
    ["/ci/{a}\n", /one claim to a segment/],
    [`/ci/{${"a".repeat(65)}}`, /one claim to a segment/],
    [`/${"a".repeat(1024)}/{a}`, /at most 1024/],
  ])("refuses %j", (text, detail) => {
    expect(() => parseIdTemplate(text)).toThrowCode("INVALID_ENTRY", detail);
  });
});

describe("fillIdTemplate", () => {
  it("puts claims where they are named", () => {
    const claims = { repository_id: "42", run_id: "7", run_attempt: "1", project_path: "acme/web/api" };
    expect(filled("/ci/{repository_id}/run/{run_id}/{run_attempt}", claims)).toBe("/ci/42/run/7/1");
    expect(filled("/ci/run-{run_id}.x", claims)).toBe("/ci/run-7.x");
    expect(filled("/ci/{project_path+}/job/{run_id}", claims)).toBe("/ci/acme/web/api/job/7");
    expect(filled("/ci/{run_id}/{run_id}", claims)).toBe("/ci/7/7");
  });

  it.each([
    "a/b",
    "..",
    ".",
    "/",
    "/a",
    "a/",
    "../admin",
    "a b",
    "a%2fb",
    "a\\b",
    "a\n",
    "\na",
    "a\u0000",
    "\u00e9",
    "\uff0e\uff0e",
    "{a}",
    "a?b",
    "a#b",
    "a:b",
    "\ud800",
  ])("refuses the value %j for one segment", (a) => {
    expect(filled("/ci/{a}", { a })).toMatch(/^the value of claim a is not/);
  });

  it.each(["..", "a/../b", "a//b", "/a", "a/", "a/./b", "a/b c", "/", "a/b\n"])(
    "refuses the value %j for segments",
    (a) => {
      expect(filled("/ci/{a+}", { a })).toMatch(/^the value of claim a is no path/);
    },
  );

  it("refuses a value that makes a dot segment with the text around it", () => {
    expect(filled("/ci/.{a}", { a: "." })).toMatch(/dot segment/);
    expect(filled("/ci/{a}.", { a: "." })).toMatch(/dot segment/);
    expect(filled("/ci/.{a}", { a: "a" })).toBe("/ci/.a");
  });

  it("refuses what is not there, is empty, or is there only by inheritance", () => {
    const none = "the evidence has no claim";
    expect(filled("/ci/{a}", {})).toBe(`${none} a`);
    expect(filled("/ci/{a}", { a: "" })).toBe(`${none} a`);
    expect(filled("/ci/{constructor}", {})).toBe(`${none} constructor`);
    expect(filled("/ci/{__proto__}", {})).toBe(`${none} __proto__`);
    expect(filled("/ci/{a}", { a: 7 as unknown as string })).toBe(`${none} a`);
    expect(filled("/ci/{constructor}", { ["constructor"]: "x" })).toBe("/ci/x");
  });

  it("refuses an ID that is too long", () => {
    expect(filled("/ci/{a}", { a: "a".repeat(2048 - "spiffe://example.org/ci/".length) })).toHaveLength(
      2048 - 20,
    );
    expect(filled("/ci/{a}", { a: "a".repeat(2048) })).toMatch(/legal length/);
  });

  const hostile = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc
      .array(
        fc.constantFrom(
          "a",
          "B9",
          ".",
          "..",
          "/",
          "-",
          "_",
          "%2e",
          "\\",
          "\n",
          "spire",
          "{",
          "}",
          "\u0000",
          "\u2215",
          "\ud800",
        ),
        { maxLength: 8 },
      )
      .map((parts) => parts.join("")),
  );

  it("never leaves its prefix nor changes its number of segments, whatever the claims are", () => {
    const text = fc.constantFrom("/ci/{a}", "/ci/x/{a}/run/{b}", "/ci/.{a}/{b}.", "/ci/v-{a}.y/{b}/z");
    fc.assert(
      fc.property(text, hostile, hostile, (template, a, b) => {
        const path = filled(template, { a, b });
        if (!path.startsWith("/")) return;
        expect(spiffeIdFault(`spiffe://example.org${path}`)).toBeUndefined();
        expect(path.startsWith("/ci/")).toBe(true);
        expect(path.split("/")).toHaveLength(template.split("/").length);
      }),
      { numRuns: 2000 },
    );
  });

  it("stays below its prefix, and between its own words, also with a claim of many segments", () => {
    fc.assert(
      fc.property(hostile, hostile, (a, b) => {
        const path = filled("/ci/gl/{a+}/job/{b}", { a, b });
        if (!path.startsWith("/")) return;
        expect(spiffeIdFault(`spiffe://example.org${path}`)).toBeUndefined();
        const segments = path.split("/");
        expect(segments.slice(0, 3)).toEqual(["", "ci", "gl"]);
        expect(segments.slice(-2)).toEqual(["job", b]);
        expect(segments.slice(3, -2).join("/")).toBe(a);
      }),
      { numRuns: 2000 },
    );
  });

  it("gives different IDs for different claims", () => {
    const value = fc
      .array(fc.constantFrom("a", "b", "/", "-", ".", "run"), { minLength: 1, maxLength: 5 })
      .map((parts) => parts.join(""));
    const text = fc.constantFrom(
      "/ci/{a}/{b}",
      "/ci/{a+}/{b}",
      "/ci/{a}/{b+}",
      "/ci/x{a}/run/{b}-y",
      "/ci/{a+}/run/{b}",
    );
    fc.assert(
      fc.property(text, value, value, value, value, (template, a, b, c, d) => {
        const one = filled(template, { a, b });
        const other = filled(template, { a: c, b: d });
        if (!one.startsWith("/") || !other.startsWith("/")) return;
        expect(one === other).toBe(a === c && b === d);
      }),
      { numRuns: 3000 },
    );
  });
});
