import { DynamicTable, type FieldName } from "./dynamic-table.ts";
import { END_OF_STRING, huffmanCodes, huffmanTree } from "./huffman.ts";
import { huffmanMasks, plainReplacements } from "./replacement.ts";

/**
 * Walks the header blocks of one connection (RFC 7541 §3.2) octet by octet as they come in, and rewrites in place what
 * the platform would refuse in the value of `:authority`. Lengths never change, so neither do frames nor the dynamic
 * table; nothing is decoded into memory, and each octet is looked at once.
 */
export class HeaderBlocks {
  readonly #table = new DynamicTable();
  #state: State = "field";
  /** The integer that is being read, and how many of its continuation octets there were. */
  #integer = 0;
  #integerOctets = 0;
  /** Of the field that is being read. */
  #kind: Kind = "indexed";
  #name: FieldName = NO_NAME;
  /** Of the string that is being read: octets left, whether it is Huffman-coded, and its length once decoded. */
  #left = 0;
  #isHuffman = false;
  #length = 0;
  #mayBeAuthority = false;
  #node = 0;

  /**
   * Goes over the octets of a block from `start` up to `end`, the next ones of it. False if they are no HPACK; then the
   * walker has lost its way for good, and the platform ends the connection as soon as it sees them.
   */
  walk(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    while (at < end) {
      const next = this.#inString() ? this.#string(bytes, at, end) : this.#octet(bytes[at] ?? 0, at);
      if (next < 0) return false;
      at = next;
    }
    return true;
  }

  /** The block ends here. False if it ends amid a field. */
  finish(): boolean {
    return this.#state === "field";
  }

  #inString(): boolean {
    return this.#state === "name" || this.#state === "value";
  }

  /** Takes one octet outside a string. Returns where the next one is, or {@link LOST}. */
  #octet(octet: number, at: number): number {
    switch (this.#state) {
      case "field":
        return this.#firstOctet(octet) ? at + 1 : LOST;
      case "nameLength":
      case "valueLength":
        this.#isHuffman = octet >= 0x80;
        return this.#prefix(octet, 0x7f) ? at + 1 : LOST;
      default:
        return this.#continuation(octet) ? at + 1 : LOST;
    }
  }

  /** RFC 7541 §6: the first bits say what is meant, the others begin an integer. */
  #firstOctet(octet: number): boolean {
    if (octet >= 0x80) {
      this.#kind = "indexed";
      return this.#prefix(octet, 0x7f);
    }
    if (octet >= 0x40) {
      this.#kind = "added";
      return this.#prefix(octet, 0x3f);
    }
    if (octet >= 0x20) {
      this.#kind = "resized";
      return this.#prefix(octet, 0x1f);
    }
    this.#kind = "passing";
    return this.#prefix(octet, 0x0f);
  }

  /** RFC 7541 §5.1. */
  #prefix(octet: number, mask: number): boolean {
    this.#integer = octet & mask;
    this.#integerOctets = 0;
    if (this.#integer < mask) return this.#integerRead();
    this.#state = CONTINUED[this.#state] ?? this.#state;
    return true;
  }

  #continuation(octet: number): boolean {
    if (this.#integerOctets === MAX_INTEGER_OCTETS) return false;
    this.#integer += (octet & 0x7f) * 2 ** (7 * this.#integerOctets++);
    return octet >= 0x80 || this.#integerRead();
  }

  #integerRead(): boolean {
    switch (this.#state) {
      case "field":
      case "fieldContinued":
        return this.#fieldBegun();
      case "nameLength":
      case "nameLengthContinued":
        this.#beginString("name", true);
        return this.#left > 0 || this.#nameRead();
      default:
        this.#beginString("value", this.#name.isAuthority);
        return this.#left > 0 || this.#valueRead();
    }
  }

  #fieldBegun(): boolean {
    this.#state = "field";
    switch (this.#kind) {
      case "indexed":
        return this.#table.name(this.#integer) !== undefined;
      case "resized":
        return this.#table.resize(this.#integer);
      default: {
        this.#state = "nameLength";
        if (this.#integer === 0) return true;
        const name = this.#table.name(this.#integer);
        if (name === undefined) return false;
        this.#name = name;
        this.#state = "valueLength";
        return true;
      }
    }
  }

  #beginString(state: "name" | "value", mayBeAuthority: boolean): void {
    this.#state = state;
    this.#left = this.#integer;
    this.#length = 0;
    this.#mayBeAuthority = mayBeAuthority;
    this.#node = 0;
  }

  #string(bytes: Uint8Array, start: number, limit: number): number {
    const end = Math.min(limit, start + this.#left);
    if (this.#isHuffman) {
      if (!this.#huffman(bytes, start, end)) return LOST;
    } else {
      this.#plain(bytes, start, end);
    }
    this.#left -= end - start;
    if (this.#left > 0) return end;
    // What is left of the last octet are fewer than eight bits, all of them 1 (RFC 7541 §5.2).
    if (this.#isHuffman && !PADDINGS.has(this.#node)) return LOST;
    const known = this.#state === "name" ? this.#nameRead() : this.#valueRead();
    return known ? end : LOST;
  }

  #nameRead(): boolean {
    const isAuthority = this.#mayBeAuthority && this.#length === AUTHORITY.length;
    this.#name = { length: this.#length, isAuthority };
    this.#state = "valueLength";
    return true;
  }

  #valueRead(): boolean {
    if (this.#kind === "added") this.#table.add(this.#name, this.#length);
    this.#state = "field";
    return true;
  }

  #plain(bytes: Uint8Array, start: number, end: number): void {
    if (this.#mayBeAuthority) {
      for (let at = start; at < end; at++) {
        const octet = bytes[at] ?? 0;
        if (this.#state === "name") this.#compare(octet, this.#length + at - start);
        else bytes[at] = REPLACEMENTS[octet] ?? octet;
      }
    }
    this.#length += end - start;
  }

  #huffman(bytes: Uint8Array, start: number, end: number): boolean {
    const isName = this.#state === "name";
    const isSought = this.#mayBeAuthority;
    let node = this.#node;
    for (let at = start; at < end; at++) {
      const octet = bytes[at] ?? 0;
      for (let bit = 7; bit >= 0; bit--) {
        node = TREE[2 * node + ((octet >> bit) & 1)] ?? 0;
        if (node >= 0) continue;
        const symbol = ~node;
        node = 0;
        if (symbol === END_OF_STRING) return false;
        if (isSought) {
          if (isName) this.#compare(symbol, this.#length);
          else turnBits(bytes, start, at, bit, MASKS[symbol] ?? 0);
        }
        this.#length++;
      }
    }
    this.#node = node;
    return true;
  }

  #compare(octet: number, position: number): void {
    if (octet !== AUTHORITY[position]) this.#mayBeAuthority = false;
  }
}

/**
 * Turns the bits of a mask whose lowest bit stands at `bit` of the octet `at`. Where some of them stand in an octet
 * before `start`, which has been passed on already, none is turned; that cannot be with `/`, whose mask is one bit.
 */
function turnBits(bytes: Uint8Array, start: number, at: number, bit: number, mask: number): void {
  if (mask === 0) return;
  const turned = mask << bit;
  const before = turned >> 8;
  if (before > 0 && at === start) return;
  bytes[at] = (bytes[at] ?? 0) ^ (turned & 0xff);
  if (before > 0) bytes[at - 1] = (bytes[at - 1] ?? 0) ^ before;
}

type State =
  | "field"
  | "fieldContinued"
  | "nameLength"
  | "nameLengthContinued"
  | "name"
  | "valueLength"
  | "valueLengthContinued"
  | "value";

/** Fully indexed, literal and added to the table, literal and not added, or no field but a size update. */
type Kind = "indexed" | "added" | "passing" | "resized";

const CONTINUED: Partial<Readonly<Record<State, State>>> = {
  field: "fieldContinued",
  nameLength: "nameLengthContinued",
  valueLength: "valueLengthContinued",
};

const LOST = -1;
const NO_NAME: FieldName = { length: 0, isAuthority: false };
const AUTHORITY = Buffer.from(":authority");
/** As many as the platform takes, zeros too: whoever is not followed any further must be cut off by it. */
const MAX_INTEGER_OCTETS = 5;

const CODES = huffmanCodes();
const TREE = huffmanTree(CODES);
const MASKS = huffmanMasks(CODES);
const REPLACEMENTS = plainReplacements(CODES);
const PADDINGS: ReadonlySet<number> = paddings();

function paddings(): ReadonlySet<number> {
  const nodes = new Set([0]);
  let node = 0;
  for (let bits = 1; bits <= 7; bits++) {
    node = TREE[2 * node + 1] ?? 0;
    nodes.add(node);
  }
  return nodes;
}
