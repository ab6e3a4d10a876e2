import type { HuffmanCode } from "./huffman.ts";

/**
 * What stands in for each octet of `:authority` that the platform refuses though a socket's path or the name of a
 * cluster may hold it; the octet itself where it stays. The octets below 32 and 127 stay and are refused: no client means them.
 */
export function plainReplacements(codes: readonly HuffmanCode[]): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, octet) =>
    isReplaced(octet) ? (sameLength(octet, codes) ?? HYPHEN) : octet,
  );
}

/**
 * For each octet, which of its code's last bits to turn to make it an octet that is accepted and whose code is as
 * long; 0 where it stays. The mask is as small as can be: for `/` it is the very last bit, so that it does not matter
 * whether the bits before have been passed on already. For `#`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `}` and octets above
 * 127 there is none; they come Huffman-coded from no client that is known.
 */
export function huffmanMasks(codes: readonly HuffmanCode[]): Uint8Array {
  const table = new Uint8Array(256);
  for (let octet = 0; octet < 256; octet++) {
    const other = isReplaced(octet) ? sameLength(octet, codes) : undefined;
    if (other !== undefined) table[octet] = (codes[octet]?.code ?? 0) ^ (codes[other]?.code ?? 0);
  }
  return table;
}

function isReplaced(octet: number): boolean {
  return octet >= 32 && octet !== 127 && !ACCEPTED.includes(octet);
}

/** The accepted octet whose code is as long and differs in the lowest bits only. */
function sameLength(octet: number, codes: readonly HuffmanCode[]): number | undefined {
  const own = codes[octet];
  let best: number | undefined;
  let least = 256;
  for (const other of ACCEPTED) {
    const code = codes[other];
    if (own === undefined || code?.length !== own.length) continue;
    const mask = code.code ^ own.code;
    if (mask < least) [best, least] = [other, mask];
  }
  return best;
}

// What nghttp2 takes as an authority without question (RFC 3986 §3.2, less `!` and `@`).
const ACCEPTED = Buffer.from(
  "$%&'()*+,-.0123456789:;=ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
);
const HYPHEN = 0x2d;
