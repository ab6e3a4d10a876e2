import { EventEmitter } from "node:events";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AddressLimit, networkOf } from "./address-limit.ts";

describe("a limit for each address", () => {
  it("lets so many in, and another when one has closed", () => {
    const { limit, over } = limited(3);
    const sockets = [1, 2, 3].map(() => socketOf("192.0.2.1"));
    for (const socket of sockets) expect(limit.take(socket)).toBe(true);
    expect(limit.take(socketOf("192.0.2.1"))).toBe(false);
    expect(limit.take(socketOf("192.0.2.1"))).toBe(false);
    expect(limit.take(socketOf("192.0.2.2"))).toBe(true);
    sockets[0]?.emit("close");
    expect(limit.take(socketOf("192.0.2.1"))).toBe(true);
    expect(limit.take(socketOf("192.0.2.1"))).toBe(false);
    expect(over).toEqual([
      ["192.0.2.1", true],
      ["192.0.2.1", false],
      ["192.0.2.1", false],
    ]);
  });

  it("does not count who has proved who they are", () => {
    const { limit } = limited(1);
    for (let agent = 0; agent < 10; agent++) {
      const [raw, tls] = [socketOf("192.0.2.1"), socketOf("192.0.2.1")];
      expect(limit.take(raw)).toBe(true);
      limit.identify(tls);
      if (agent % 2 === 0) continue;
      raw.emit("close");
      tls.emit("close");
    }
    expect(limit.take(socketOf("192.0.2.1"))).toBe(true);
    expect(limit.take(socketOf("192.0.2.1"))).toBe(false);
  });

  it("tells again of an address that fell below half of the limit since", () => {
    const { limit, over } = limited(1);
    const other = socketOf("192.0.2.1");
    limit.take(socketOf("192.0.2.1"));
    limit.take(socketOf("192.0.2.1"));
    limit.identify(other);
    limit.take(socketOf("192.0.2.1"));
    limit.take(socketOf("192.0.2.1"));
    expect(over.map(([, first]) => first)).toEqual([true, true]);
  });

  it("takes a /64 of IPv6 for one, and an IPv4 address for itself however it is written", () => {
    const { limit } = limited(1);
    expect(limit.take(socketOf("2001:db8::1"))).toBe(true);
    expect(limit.take(socketOf("2001:db8:0:0:ffff::2"))).toBe(false);
    expect(limit.take(socketOf("2001:db8:0:1::1"))).toBe(true);
    expect(limit.take(socketOf("::ffff:192.0.2.1"))).toBe(true);
    expect(limit.take(socketOf("192.0.2.1"))).toBe(false);
    expect(limit.take(socketOf("::ffff:192.0.2.2"))).toBe(true);
  });

  it("does not bound a Unix socket, which has no address", () => {
    const { limit } = limited(1);
    for (let n = 0; n < 5; n++) expect(limit.take(socketOf(undefined))).toBe(true);
  });
});

describe("the network of an address", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:192.0.2.1", "192.0.2.1"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["2001:db8::", "2001:db8:0:0::/64"],
    ["2001:0DB8:0:0:1:2:3:4", "2001:db8:0:0::/64"],
    ["2001:db8:1:2:3::", "2001:db8:1:2::/64"],
    ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
    ["1:2:3:4:5:6:192.0.2.1", "1:2:3:4::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64%eth0"],
    ["", ""],
  ])("of %s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it("is the same for two IPv6 addresses exactly if their first 64 bits are", () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.ipV6(), (one, other) => {
        const [a, b] = [bitsOf(one), bitsOf(other)];
        fc.pre(a >> 32n !== 0xffffn && b >> 32n !== 0xffffn);
        expect(networkOf(one) === networkOf(other)).toBe(a >> 64n === b >> 64n);
        const groups = [112n, 96n, 80n, 64n].map((at) => ((a >> at) & 0xffffn).toString(16));
        const twin = [...groups, 1, 2, 3, 4].join(":");
        expect(networkOf(twin)).toBe(networkOf(one));
      }),
    );
  });
});

/** The 128 bits of an address, read by the platform's own parser of hosts. */
function bitsOf(address: string): bigint {
  const host = new URL(`https://[${address}]/`).hostname.slice(1, -1);
  const [head = [], tail] = host.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = tail === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array.from({ length: zeros }, () => "0"), ...(tail ?? [])];
  return groups.reduce((bits, group) => (bits << 16n) | BigInt(Number.parseInt(group, 16)), 0n);
}

function limited(limit: number) {
  const over: [string, boolean][] = [];
  return {
    limit: new AddressLimit({ limit, onOver: (address, first) => over.push([address, first]) }),
    over,
  };
}

function socketOf(remoteAddress: string | undefined): EventEmitter & { readonly remoteAddress?: string } {
  return Object.assign(new EventEmitter(), remoteAddress === undefined ? {} : { remoteAddress });
}
