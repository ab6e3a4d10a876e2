import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatDuration, parseDuration, parseHostPort, parseSize } from "./units.ts";

describe("parseDuration", () => {
  it.each([
    ["0s", 0],
    ["500ms", 500],
    ["90s", 90_000],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["1.5h", 5_400_000],
    ["7d", 604_800_000],
    ["1d2h3m4s5ms", 93_784_005],
  ])("reads %s", (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  it.each([
    "",
    "5",
    "m",
    "5 m",
    "-5m",
    "5M",
    "5min",
    "1m1h",
    "1h1h",
    "1e3s",
    "0.0001s",
    "5m ",
    "٥m",
    "99999999d",
  ])("refuses %j", (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it("reads back what formatDuration writes", () => {
    fc.assert(
      fc.property(fc.nat(365 * 86_400_000), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });
});

describe("parseSize", () => {
  it.each([
    ["0B", 0],
    ["16KiB", 16_384],
    ["100MiB", 104_857_600],
    ["2GiB", 2_147_483_648],
  ])("reads %s", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(["", "1", "1MB", "1.5MiB", "-1B", "1 MiB", "MiB", "9999999999B"])("refuses %j", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});

describe("parseHostPort", () => {
  it.each([
    ["127.0.0.1:8081", "127.0.0.1", 8081],
    ["[::1]:0", "::1", 0],
    ["issuer.example.org:443", "issuer.example.org", 443],
    ["localhost:65535", "localhost", 65_535],
  ])("reads %s", (text, host, port) => {
    expect(parseHostPort(text)).toEqual({ host, port });
  });

  it.each([
    "",
    "8081",
    ":8081",
    "a:",
    "a:65536",
    "a:-1",
    "::1:80",
    "[::1]",
    "[1.2.3.4]:80",
    "300.1.1.1:80",
    "a b:80",
    "-a:80",
    "a..b:80",
    "http://a:80",
    "a:80/",
  ])("refuses %j", (text) => {
    expect(parseHostPort(text)).toBeUndefined();
  });
});
