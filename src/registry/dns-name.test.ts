import { expect, it } from "vitest";
import { dnsNameFault } from "./dns-name.ts";

const LONGEST = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;

it.each(["a", "localhost", "a.b", "A-1.example.org", "*.example.org", "1a.2b", "xn--mnchen-3ya.de", LONGEST])(
  "takes %s",
  (name) => {
    expect(dnsNameFault(name)).toBeUndefined();
  },
);

it.each([
  ["", /empty/],
  [`${LONGEST}e`, /longer than 253/],
  ["a".repeat(64), /longer than 63/],
  ["a..b", /empty label/],
  [".a", /empty label/],
  ["a.", /empty label/],
  ["*", /limited/],
  ["*.", /empty label/],
  ["*.*.a", /limited/],
  ["a.*.b", /limited/],
  ["*a.b", /limited/],
  ["-a.b", /limited/],
  ["a-.b", /limited/],
  ["a_b.c", /limited/],
  ["a b", /limited/],
  ["m\u00fcnchen.de", /limited/],
  ["a\n", /limited/],
  ["ab--c.de", /internationalised/],
  ["xn--.de", /limited/],
  ["xn--a.de", /internationalised/],
  ["xn--0.de", /internationalised/],
  ["10.0.0.1", /IP address/],
  ["::1", /IP address/],
] as const)("refuses %j", (name, detail) => {
  expect(dnsNameFault(name)).toMatch(detail);
});

it("takes exactly letters, digits and the hyphen inside a label", () => {
  for (let byte = 0; byte < 256; byte++) {
    const character = String.fromCharCode(byte);
    const allowed = /[A-Za-z0-9.-]/.test(character);
    expect([byte, dnsNameFault(`a${character}b`) === undefined]).toEqual([byte, allowed]);
  }
});
