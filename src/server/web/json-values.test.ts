import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hostName } from "./host-check.ts";
import { durationInput, timeInput, timeText } from "./json-values.ts";

const anyDuration = durationInput({ min: 0, max: 2 ** 31 - 1 });

describe("durations", () => {
  it.each([
    [0, 0],
    ["0s", 0],
    ["90s", 90],
    ["1h", 3600],
    ["1h30m", 5400],
    ["2d3h4m5s", 183_845],
    [2_147_483_647, 2_147_483_647],
  ])("reads %j as %i seconds", (text, seconds) => {
    expect(anyDuration.parse(text)).toBe(seconds);
  });

  it.each([
    "",
    "1",
    "h",
    "1h1h",
    "30m1h",
    "-1h",
    "1.5h",
    " 1h",
    "1h ",
    "1H",
    "1ms",
    "1e3s",
    "９s",
    null,
    true,
    -1,
    1.5,
    2 ** 31,
  ])("refuses %j", (value) => {
    expect(anyDuration.safeParse(value).success).toBe(false);
  });

  it("keeps to its bounds", () => {
    const bounded = durationInput({ min: 1, max: 60 });
    expect(bounded.safeParse("1m").success).toBe(true);
    expect(bounded.safeParse("61s").success).toBe(false);
    expect(bounded.safeParse(0).success).toBe(false);
  });

  it("reads whatever is written in its units", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(23), fc.nat(59), fc.nat(59), (d, h, m, s) => {
        expect(anyDuration.parse(`${d}d${h}h${m}m${s}s`)).toBe(((d * 24 + h) * 60 + m) * 60 + s);
      }),
    );
  });
});

describe("times", () => {
  it("reads back every second that it writes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => {
        expect(timeInput.parse(timeText(seconds))).toBe(seconds);
      }),
    );
  });

  it.each([
    "2030-01-31",
    "2030-01-31T12:00Z ",
    "2030-01-31 12:00:00Z",
    "2030-01-31T12:00:00",
    "10000-01-01T00:00:00Z",
    5,
    null,
  ])("refuses %j", (value) => {
    expect(timeInput.safeParse(value).success).toBe(false);
  });
});

describe("the Host header", () => {
  it.each([
    ["A.example", "a.example"],
    ["a.example:8443", "a.example"],
    ["[::1]:80", "[::1]"],
  ])("names %s as %s", (header, name) => {
    expect(hostName(header)).toBe(name);
  });

  it.each([undefined, "", "a b", "a/b", "user@a", "a:b", "a:123456", "[::1", "a,b"])(
    "refuses %j",
    (header) => {
      expect(() => hostName(header)).toThrowCode("INVALID_REQUEST", /Host header/);
    },
  );
});
