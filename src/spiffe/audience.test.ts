import { describe, expect, it } from "vitest";
import { parseAudiences } from "./audience.ts";

describe("JWT-SVID §3.2: audiences", () => {
  it("keeps the order asked for and drops repetitions", () => {
    expect(parseAudiences(["b", "a", "b"])).toEqual(["b", "a"]);
  });

  it.each([
    [[], "must be specified"],
    [[""], "must not be empty"],
    [["a", ""], "must not be empty"],
    [["\ud800"], "Unicode"],
    [["x".repeat(1025)], "1024"],
    [Array.from({ length: 33 }, (_, i) => `a${i}`), "32"],
  ])("refuses %j", (values, detail) => {
    expect(() => parseAudiences(values)).toThrowCode("INVALID_AUDIENCE", detail);
  });
});
