import { BlockList, isIP } from "node:net";
import { AssayError } from "../errors/assay-error.ts";

/** Which addresses may be connected to. */
export interface AddressRules {
  /** Whether it may; false for what is no address. */
  permits(address: string): boolean;
}

/** A block of addresses as people write it, `10.0.0.0/8`, or a single address. */
export interface AddressBlock {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/**
 * Rules that permit the addresses of the public internet and, beside them, those of `allowed`. Everything that the
 * IANA registries keep for a special purpose is not public: private, loopback, link-local (and with it the metadata
 * services of clouds), shared, documentation, multicast and reserved ranges. An IPv4 address inside an IPv6 one
 * counts as the IPv4 address.
 */
export function addressRules(allowed: readonly AddressBlock[]): AddressRules {
  const exceptions = new BlockList();
  for (const { address, prefix, family } of allowed) exceptions.addSubnet(address, prefix, family);
  return {
    permits(address) {
      const plain = embeddedIpv4(address) ?? address;
      switch (isIP(plain)) {
        case 4:
          return !SPECIAL_IPV4.check(plain, "ipv4") || exceptions.check(plain, "ipv4");
        case 6:
          // One with a zone is link-local, and names an interface besides.
          return !plain.includes("%") && (isPublicIpv6(plain) || exceptions.check(plain, "ipv6"));
        default:
          return false;
      }
    },
  };
}

/**
 * Parses a block of addresses. A bare address is a block of one.
 * @throws AssayError `INVALID_REQUEST`.
 */
export function parseAddressBlock(text: string): AddressBlock {
  const [address = "", length, ...rest] = text.split("/");
  const family = isIP(address);
  const most = family === 4 ? 32 : 128;
  const prefix = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (family === 0 || address.includes("%") || rest.length > 0 || !(prefix <= most)) {
    throw new AssayError(
      "INVALID_REQUEST",
      `expected addresses such as 10.0.0.0/8 or fd00::/8, got ${JSON.stringify(text.slice(0, 64))}`,
    );
  }
  return { address, prefix, family: family === 4 ? "ipv4" : "ipv6" };
}

function isPublicIpv6(address: string): boolean {
  return GLOBAL_IPV6.check(address, "ipv6") && !SPECIAL_IPV6.check(address, "ipv6");
}

/** The IPv4 address that an IPv4-mapped or NAT64 address leads to. */
function embeddedIpv4(address: string): string | undefined {
  if (isIP(address) !== 6 || address.includes("%") || !EMBEDDING.check(address, "ipv6")) return undefined;
  // The standard's parser writes IPv6 in one way: the last 32 bits are the last two groups.
  const groups = new URL(`https://[${address}]/`).hostname.slice(1, -1).split(":");
  const [high = "", low = ""] = groups.slice(-2);
  const bits =
    Number.parseInt(high === "" ? "0" : high, 16) * 65_536 + Number.parseInt(low === "" ? "0" : low, 16);
  return [bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255].join(".");
}

function blocksOf(family: "ipv4" | "ipv6", texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const { address, prefix } = parseAddressBlock(text);
    list.addSubnet(address, prefix, family);
  }
  return list;
}

// IANA IPv4 Special-Purpose Address Registry, multicast and what was class E.
const SPECIAL_IPV4 = blocksOf("ipv4", [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
]);
// Only this much of IPv6 has been given out as global unicast; within it, the special purposes.
const GLOBAL_IPV6 = blocksOf("ipv6", ["2000::/3"]);
const SPECIAL_IPV6 = blocksOf("ipv6", [
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "2620:4f:8000::/48",
  "3fff::/20",
]);
const EMBEDDING = blocksOf("ipv6", ["::ffff:0:0/96", "64:ff9b::/96"]);
