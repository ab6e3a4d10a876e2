import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalSelectors, formatSelector, parseSelector, selectorOf } from "./selector.ts";

describe("selectors", () => {
  it("splits at the first colon only", () => {
    expect(parseSelector("docker:label:app:web")).toEqual({ type: "docker", value: "label:app:web" });
  });

  it.each([
    ["", "type:value"],
    ["unix", "type:value"],
    [":x", "missing selector type"],
    ["unix:", "missing selector value"],
    [`${"t".repeat(256)}:v`, "255"],
    [`t:${"v".repeat(4097)}`, "4096"],
    ["t:\ud800", "Unicode"],
  ])("refuses %j", (text, detail) => {
    expect(() => parseSelector(text)).toThrowCode("INVALID_SELECTOR", detail);
  });

  it("refuses a type with a colon, which would make two selectors look like one", () => {
    expect(() => selectorOf("a:b", "c")).toThrowCode("INVALID_SELECTOR", "':'");
  });

  it("formats what it parsed", () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z_]{1,10}$/),
        fc.string({ minLength: 1, unit: "grapheme" }),
        (type, value) => {
          expect(parseSelector(formatSelector({ type, value }))).toEqual({ type, value });
        },
      ),
    );
  });

  it("sorts and drops repetitions, whatever the order", () => {
    const a = { type: "unix", value: "uid:1" };
    const b = { type: "unix", value: "gid:1" };
    expect(canonicalSelectors([a, b, a])).toEqual([b, a]);
    expect(canonicalSelectors([b, a])).toEqual(canonicalSelectors([a, b]));
  });
});
