import { describe, expect, it } from "vitest";
import { addressRules, parseAddressBlock } from "./address-rules.ts";

const PUBLIC = ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"];
const SPECIAL = [
  "0.0.0.0",
  "10.1.2.3",
  "100.64.0.1",
  "127.0.0.1",
  "127.255.255.255",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.170",
  "192.168.0.1",
  "198.18.0.1",
  "203.0.113.9",
  "224.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "fe80::1",
  "fc00::1",
  "fd12:3456::1",
  "ff02::1",
  "2001:db8::1",
  "2001::1",
  "2002:7f00:1::",
  "fec0::1",
];

describe("the rules for addresses", () => {
  it.each(PUBLIC)("permit %s, which is public", (address) => {
    expect(addressRules([]).permits(address)).toBe(true);
  });

  it.each(SPECIAL)("do not permit %s, which has a special purpose", (address) => {
    expect(addressRules([]).permits(address)).toBe(false);
  });

  it.each([
    ["::ffff:127.0.0.1", false],
    ["::ffff:7f00:1", false],
    ["::ffff:10.0.0.1", false],
    ["::ffff:1.1.1.1", true],
    ["64:ff9b::169.254.169.254", false],
    ["64:ff9b::a00:1", false],
    ["64:ff9b::", false],
    ["64:ff9b::1.1.1.1", true],
  ])("judge %s by the IPv4 address inside it: %s", (address, permitted) => {
    expect(addressRules([]).permits(address)).toBe(permitted);
  });

  it.each(["", "localhost", "127.1", "0x7f000001", "1.1.1.1 ", "fe80::1%eth0", "1.1.1.1:443"])(
    "do not permit %j, which is no address",
    (text) => {
      expect(addressRules([parseAddressBlock("0.0.0.0/0"), parseAddressBlock("::/0")]).permits(text)).toBe(
        false,
      );
    },
  );

  it("permit what the operator allowed, in each spelling, and nothing beside it", () => {
    const rules = addressRules(["10.2.0.0/16", "fd00:1::/32", "127.0.0.1"].map(parseAddressBlock));
    expect(rules.permits("10.2.255.255")).toBe(true);
    expect(rules.permits("::ffff:10.2.3.4")).toBe(true);
    expect(rules.permits("fd00:1::5")).toBe(true);
    expect(rules.permits("127.0.0.1")).toBe(true);
    expect(rules.permits("10.3.0.0")).toBe(false);
    expect(rules.permits("fd00:2::5")).toBe(false);
    expect(rules.permits("127.0.0.2")).toBe(false);
  });
});

describe("a block of addresses", () => {
  it.each([
    ["10.0.0.0/8", { address: "10.0.0.0", prefix: 8, family: "ipv4" }],
    ["192.168.1.5", { address: "192.168.1.5", prefix: 32, family: "ipv4" }],
    ["fd00::/8", { address: "fd00::", prefix: 8, family: "ipv6" }],
    ["::1", { address: "::1", prefix: 128, family: "ipv6" }],
  ])("is read from %s", (text, block) => {
    expect(parseAddressBlock(text)).toEqual(block);
  });

  it.each([
    "",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "fd00::/129",
    "private",
    "fe80::1%lo/64",
  ])("is not read from %j", (text) => {
    expect(() => parseAddressBlock(text)).toThrowCode("INVALID_REQUEST", /10\.0\.0\.0\/8/);
  });
});
