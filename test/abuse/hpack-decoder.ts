import { huffmanCodes } from "../../src/rpc/authority/huffman.ts";

/** One decoded header. */
export type Field = readonly [name: string, value: string];

/**
 * An HPACK decoder written from RFC 7541 for tests alone: whole blocks, whole strings, nothing shared with the front
 * but the code table (which the platform's own decoder checks elsewhere). Throws on anything malformed.
 */
export class HpackDecoder {
  #table: Field[] = [];
  #limit = 4096;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  decode(block: Buffer): Field[] {
    this.#block = block;
    this.#at = 0;
    const fields: Field[] = [];
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0;
      if (first & 0x80) fields.push(this.#entry(this.#integer(7)));
      else if (first & 0x40) {
        const field = this.#literal(6);
        fields.push(field);
        this.#table.unshift(field);
        this.#evict();
      } else if (first & 0x20) {
        this.#limit = this.#integer(5);
        if (this.#limit > 4096) throw new Error("size update above the limit");
        this.#evict();
      } else fields.push(this.#literal(4));
    }
    return fields;
  }

  /** How many entries the dynamic table has. */
  get entries(): number {
    return this.#table.length;
  }

  #literal(prefix: number): Field {
    const index = this.#integer(prefix);
    const name = index === 0 ? this.#text() : this.#entry(index)[0];
    return [name, this.#text()];
  }

  #entry(index: number): Field {
    const field = index <= 61 ? STATIC[index - 1] : this.#table[index - 62];
    if (field === undefined) throw new Error("no such entry");
    return field;
  }

  #evict(): void {
    const size = () => this.#table.reduce((sum, [name, value]) => sum + 32 + name.length + value.length, 0);
    while (size() > this.#limit) this.#table.pop();
  }

  #octet(): number {
    const octet = this.#block[this.#at++];
    if (octet === undefined) throw new Error("the block is too short");
    return octet;
  }

  #integer(prefix: number): number {
    const mask = (1 << prefix) - 1;
    let value = this.#octet() & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (shift > 21) throw new Error("integer too large");
      const octet = this.#octet();
      value += (octet & 0x7f) * 2 ** shift;
      if (octet < 0x80) return value;
    }
  }

  #text(): string {
    const isHuffman = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const octets = this.#block.subarray(this.#at, this.#at + length);
    if (octets.length < length) throw new Error("the block is too short");
    this.#at += length;
    return isHuffman ? fromHuffman(octets) : octets.toString("latin1");
  }
}

function fromHuffman(octets: Buffer): string {
  let text = "";
  let code = "";
  for (const bit of [...octets].map((octet) => octet.toString(2).padStart(8, "0")).join("")) {
    code += bit;
    const symbol = SYMBOLS.get(code);
    if (symbol === undefined) continue;
    if (symbol === 256) throw new Error("end of string within a string");
    text += String.fromCharCode(symbol);
    code = "";
  }
  if (code.length > 7 || code.includes("0")) throw new Error("wrong padding");
  return text;
}

const SYMBOLS: ReadonlyMap<string, number> = new Map(
  huffmanCodes().map(({ code, length }, symbol) => [code.toString(2).padStart(length, "0"), symbol]),
);

const names = (text: string): Field[] => text.split(" ").map((name) => [name, ""]);

/** RFC 7541 Appendix A. */
const STATIC: readonly Field[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  ...["200", "204", "206", "304", "400", "404", "500"].map((status): Field => [":status", status]),
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...names(
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control",
  ),
  ...names(
    "content-disposition content-encoding content-language content-length content-location content-range",
  ),
  ...names(
    "content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range",
  ),
  ...names(
    "if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization",
  ),
  ...names("range referer refresh retry-after server set-cookie strict-transport-security transfer-encoding"),
  ...names("user-agent vary via www-authenticate"),
];
