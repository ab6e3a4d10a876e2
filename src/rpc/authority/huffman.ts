/** One octet that HPACK's Huffman code writes, or its end-of-string symbol (RFC 7541 Appendix B). */
export interface HuffmanCode {
  /** The bits, right-aligned. */
  readonly code: number;
  /** How many bits, 5 to 30. */
  readonly length: number;
}

/**
 * The code of each octet and, as the last of 257, of the end of a string. The code is canonical: it follows from the
 * lengths alone, shorter codes first and equal lengths in the order of the octets.
 */
export function huffmanCodes(): readonly HuffmanCode[] {
  const codes: HuffmanCode[] = Array.from({ length: LENGTHS.length }, () => ({ code: 0, length: 0 }));
  let code = 0;
  for (let length = 5; length <= 30; length++) {
    for (const [symbol, its] of LENGTHS.entries())
      if (its === length) codes[symbol] = { code: code++, length };
    code *= 2;
  }
  return codes;
}

/**
 * The code as a tree, for walking it bit by bit: at `2 * node + bit` stands the next node, or `~symbol` where a symbol
 * is complete. Node 0 is the root.
 */
export function huffmanTree(codes: readonly HuffmanCode[]): Int16Array {
  const tree = new Int16Array(2 * LENGTHS.length);
  let nodes = 1;
  for (const [symbol, { code, length }] of codes.entries()) {
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const at = 2 * node + ((code >> bit) & 1);
      if (tree[at] === 0) tree[at] = nodes++;
      node = tree[at] ?? 0;
    }
    tree[2 * node + (code & 1)] = ~symbol;
  }
  return tree;
}

/** Number of the end-of-string symbol; a string that holds it is malformed (RFC 7541 §5.2). */
export const END_OF_STRING = 256;

const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
