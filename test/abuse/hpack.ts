import { huffmanCodes } from "../../src/rpc/authority/huffman.ts";

/** How one header field is written (RFC 7541 §6). */
export interface FieldForm {
  /** Added to the dynamic table, kept out of it, or never to be in one. */
  readonly representation: "added" | "passing" | "never";
  readonly nameIndex: number;
  readonly huffmanName: boolean;
  readonly huffmanValue: boolean;
}

/** A literal field; its name is written only where there is no index. */
export function literal(name: string, value: string, form: Partial<FieldForm> = {}): Buffer {
  const { representation = "passing", nameIndex = 0, huffmanName = false, huffmanValue = false } = form;
  const [bits, mask] = PREFIXES[representation];
  const head = integer(nameIndex, mask, bits);
  const octets = Buffer.from(value, "latin1");
  if (nameIndex > 0) return Buffer.concat([head, text(octets, huffmanValue)]);
  return Buffer.concat([head, text(Buffer.from(name, "latin1"), huffmanName), text(octets, huffmanValue)]);
}

/** A field that is in a table already. */
export function indexed(index: number): Buffer {
  return integer(index, 0x7f, 0x80);
}

/** A size update of the dynamic table. */
export function sizeUpdate(size: number): Buffer {
  return integer(size, 0x1f, 0x20);
}

/** An integer with a prefix (RFC 7541 §5.1). */
export function integer(value: number, mask: number, bits: number): Buffer {
  if (value < mask) return Buffer.of(bits | value);
  const octets = [bits | mask];
  let rest = value - mask;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) octets.push((rest % 0x80) | 0x80);
  return Buffer.from([...octets, rest]);
}

/** The Huffman code of some octets, padded with ones. */
export function huffman(octets: Uint8Array): Buffer {
  let bits = "";
  for (const octet of octets) {
    const { code = 0, length = 0 } = CODES[octet] ?? {};
    bits += code.toString(2).padStart(length, "0");
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
  return Buffer.from(
    Array.from({ length: bits.length / 8 }, (_, i) => parseInt(bits.slice(8 * i, 8 * i + 8), 2)),
  );
}

function text(octets: Uint8Array, isHuffman: boolean): Buffer {
  const coded = isHuffman ? huffman(octets) : octets;
  return Buffer.concat([integer(coded.length, 0x7f, isHuffman ? 0x80 : 0), coded]);
}

/** The headers of a gRPC request, all as literals that no table knows, for a client that writes them so. */
export function requestHeaders(authority: Uint8Array, path = "/SpiffeWorkloadAPI/FetchX509SVID"): Buffer {
  return Buffer.concat([
    literal(":method", "POST"),
    literal(":scheme", "http"),
    literal(":path", path),
    authority,
    literal("content-type", "application/grpc"),
    literal("te", "trailers"),
    literal("workload.spiffe.io", "true"),
  ]);
}

const PREFIXES = { added: [0x40, 0x3f], passing: [0x00, 0x0f], never: [0x10, 0x0f] } as const;
const CODES = huffmanCodes();
