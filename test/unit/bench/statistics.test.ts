import { describe, expect, it } from "vitest";
import { between, limitOf, parseSpeed } from "../../bench/compare/ceiling.ts";
import { figure, inTurn, range, spread } from "../../bench/compare/statistics.ts";

describe("the spread of figures", () => {
  it("is the median with the least and the most", () => {
    expect(spread([3, 1, 10])).toEqual({ median: 3, least: 1, most: 10 });
    expect(spread([4, 1, 2, 3])).toEqual({ median: 2.5, least: 1, most: 4 });
    expect(spread([7])).toEqual({ median: 7, least: 7, most: 7 });
  });

  it("is refused where there is no figure", () => {
    expect(() => spread([])).toThrow("there is no figure");
  });

  it("reads as one figure where there is no more", () => {
    expect(range(spread([2.5]))).toBe("2.50");
    expect(range(spread([2.5, 3, 12_345]))).toBe("3.00 (2.50–12,345)");
  });
});

describe("a figure", () => {
  it.each([
    [0, "0.00"],
    [0.01234, "0.012"],
    [2.5, "2.50"],
    [55.04, "55.0"],
    [999.6, "1000"],
    [4194.2, "4194"],
    [50_863.4, "50,863"],
    [Number.NaN, "–"],
    [Infinity, "–"],
  ])("of %d reads %s", (value, text) => {
    expect(figure(value)).toBe(text);
  });
});

describe("the ceiling", () => {
  const speed = { sign: 40_000, verify: 10_000 };

  it("of an X509-SVID is a verification and a signature, that of a JWT-SVID a signature", () => {
    expect(inTurn(40_000, 10_000)).toBeCloseTo(8000);
    expect(limitOf("x509", speed)).toBeCloseTo(8000);
    expect(limitOf("jwt", speed)).toBe(40_000);
  });

  it("of a turn is the mean of before and after", () => {
    const after = { openssl: { sign: 60_000, verify: 20_000 }, node: speed };
    expect(between({ openssl: speed, node: speed }, after)).toEqual({
      openssl: { sign: 50_000, verify: 15_000 },
      node: speed,
    });
  });

  it("is read from the table that openssl prints", () => {
    const table = [
      "version: 3.0.19",
      "                              sign    verify    sign/s verify/s",
      " 256 bits ecdsa (nistp256)   0.0000s   0.0001s  44606.1  16165.0",
      "",
    ].join("\n");
    expect(parseSpeed(table)).toEqual({ sign: 44_606.1, verify: 16_165 });
  });

  it.each([
    "",
    "speed: unknown algorithm ecdsap256",
    " 384 bits ecdsa (nistp384)   0.0000s   0.0001s  44606.1  16165.0\n",
    " 256 bits ecdsa (nistp256)   0.0000s   0.0001s  0.0  16165.0\n",
  ])("is refused where openssl says something else: %j", (table) => {
    expect(() => parseSpeed(table)).toThrow("openssl speed said something else");
  });
});
