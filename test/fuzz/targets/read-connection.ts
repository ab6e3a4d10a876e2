import { huffmanCodes } from "../../../src/rpc/authority/huffman.ts";

/** One octet of a header's value, and where in the connection it is written: several octets where it is Huffman-coded. */
export interface ReadOctet {
  readonly octet: number;
  readonly at: readonly number[];
}

/** A header as it was read; the last one of what is read may be incomplete. */
export interface ReadField {
  readonly name: string;
  readonly isHuffman: boolean;
  /** Nothing where the whole field is in a table. */
  readonly value: readonly ReadOctet[];
}

/** What the header blocks of a connection hold, up to where it ends or breaks the protocol. */
export interface ReadConnection {
  readonly fields: readonly ReadField[];
  /** Whether it ends with a frame, and every block in it is well-formed. */
  readonly isWhole: boolean;
}

/**
 * Reads what a client sends (RFC 9113 §4.1, §6.2, §6.10; RFC 7541) and says of each value where it is written. Written
 * from the standards for tests alone, frame by frame and block by block, and shares nothing with the front but the code
 * table, which the platform's own decoder checks elsewhere.
 */
export function readConnection(octets: Uint8Array): ReadConnection {
  const decoder = new Decoder(octets);
  const isWhole = new Frames(octets).every((block, ended) => decoder.read(block) && ended);
  return { fields: decoder.fields, isWhole };
}

/** The frames after the preface. */
class Frames {
  readonly #octets: Uint8Array;
  #at = PREFACE;

  constructor(octets: Uint8Array) {
    this.#octets = octets;
  }

  /** Hands over where the octets of each block stand, and whether it is complete; true if all went well. */
  every(take: (block: readonly number[], ended: boolean) => boolean): boolean {
    if (this.#octets.length < PREFACE) return false;
    while (this.#at < this.#octets.length) {
      const frame = this.#frame();
      if (frame === undefined) return false;
      if (frame.type === CONTINUATION) return false;
      if (frame.type !== HEADERS) continue;
      const block: number[] = [];
      const ended = frame.stream !== 0 && this.#block(frame, block);
      if (!take(block, ended)) return false;
    }
    return this.#at === this.#octets.length;
  }

  /** Collects a block from HEADERS and the CONTINUATION frames after it; false if it stops before its end. */
  #block(first: Frame, block: number[]): boolean {
    let frame: Frame | undefined = first;
    while (frame !== undefined) {
      const { begin, end, flags } = frame;
      for (let at = begin; at < Math.min(end, this.#octets.length); at++) block.push(at);
      if (begin > end || end > this.#octets.length) return false;
      if (flags & END_HEADERS) return true;
      frame = this.#frame();
      if (frame?.type !== CONTINUATION || frame.stream !== first.stream) return false;
    }
    return false;
  }

  #frame(): Frame | undefined {
    const head = Buffer.from(this.#octets.subarray(this.#at, this.#at + HEAD));
    if (head.length < HEAD) return undefined;
    const length = head.readUIntBE(0, 3);
    if (length > MAX_FRAME) return undefined;
    const [type = 0, flags = 0] = head.subarray(3);
    const payload = this.#at + HEAD;
    this.#at = payload + length;
    const isPadded = type === HEADERS && (flags & PADDED) !== 0;
    const padding = isPadded ? (this.#octets[payload] ?? 0) : 0;
    const skipped = (isPadded ? 1 : 0) + (type === HEADERS && (flags & PRIORITY) !== 0 ? 5 : 0);
    const stream = head.readUInt32BE(5) & 0x7fff_ffff;
    return { type, flags, stream, begin: payload + skipped, end: this.#at - padding };
  }
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  /** Where what it holds of a block begins and ends; it may end before it begins. */
  readonly begin: number;
  readonly end: number;
}

/** Reads blocks one after the other; throws nothing. */
class Decoder {
  readonly fields: ReadField[] = [];
  readonly #octets: Uint8Array;
  readonly #table: { readonly name: string; readonly size: number }[] = [];
  #limit = MAX_TABLE;
  #block: readonly number[] = [];
  #next = 0;

  constructor(octets: Uint8Array) {
    this.#octets = octets;
  }

  /** False if the block ends amid a field or is malformed. */
  read(block: readonly number[]): boolean {
    this.#block = block;
    this.#next = 0;
    while (this.#next < block.length) if (!this.#field()) return false;
    return true;
  }

  #field(): boolean {
    const first = this.#octets[this.#block[this.#next] ?? 0] ?? 0;
    const [bits, kind] = KINDS.find(([, , least]) => first >= least) ?? [4, "passing"];
    const index = this.#integer(bits);
    if (index === undefined) return false;
    if (kind === "resized") {
      if (index > MAX_TABLE) return false;
      this.#limit = index;
      this.#evict();
      return true;
    }
    const known = index <= STATIC.length ? STATIC[index - 1] : this.#table[index - STATIC.length - 1]?.name;
    if (kind === "indexed") {
      if (known === undefined) return false;
      this.fields.push({ name: known, isHuffman: false, value: [] });
      return true;
    }
    const name = index === 0 ? this.#name() : known;
    if (name === undefined) return false;
    const value: ReadOctet[] = [];
    const form = this.#stringHead();
    if (form === undefined) return false;
    this.fields.push({ name, isHuffman: form.isHuffman, value });
    if (!this.#string(form, value)) return false;
    if (kind === "added") {
      this.#table.unshift({ name, size: 32 + name.length + value.length });
      this.#evict();
    }
    return true;
  }

  #name(): string | undefined {
    const form = this.#stringHead();
    const octets: ReadOctet[] = [];
    if (form === undefined || !this.#string(form, octets)) return undefined;
    return Buffer.from(octets.map(({ octet }) => octet)).toString("latin1");
  }

  #evict(): void {
    let size = 0;
    const kept = this.#table.findIndex((entry) => {
      size += entry.size;
      return size > this.#limit;
    });
    if (kept >= 0) this.#table.length = kept;
  }

  /** RFC 7541 §5.1; five octets more at most, as the platform has it. */
  #integer(bits: number): number | undefined {
    const mask = (1 << bits) - 1;
    let value = this.#octet() & mask;
    if (value < mask) return value;
    for (let n = 0; n < 5 && this.#next < this.#block.length; n++) {
      const octet = this.#octet();
      value += (octet & 0x7f) * 128 ** n;
      if (octet < 0x80) return value;
    }
    return undefined;
  }

  #octet(): number {
    return this.#octets[this.#block[this.#next++] ?? 0] ?? 0;
  }

  #stringHead(): { readonly isHuffman: boolean; readonly length: number } | undefined {
    if (this.#next >= this.#block.length) return undefined;
    const isHuffman = (this.#octets[this.#block[this.#next] ?? 0] ?? 0) >= 0x80;
    const length = this.#integer(7);
    return length === undefined ? undefined : { isHuffman, length };
  }

  /** RFC 7541 §5.2: as much of it as there is, into `into`; false if that is not all. */
  #string(
    { isHuffman, length }: { readonly isHuffman: boolean; readonly length: number },
    into: ReadOctet[],
  ): boolean {
    const at = this.#block.slice(this.#next, this.#next + length);
    this.#next += at.length;
    if (!isHuffman) for (const one of at) into.push({ octet: this.#octets[one] ?? 0, at: [one] });
    else if (!fromHuffman(this.#octets, at, at.length === length, into)) return false;
    return at.length === length;
  }
}

function fromHuffman(
  octets: Uint8Array,
  positions: readonly number[],
  isAll: boolean,
  into: ReadOctet[],
): boolean {
  let code = 1;
  let at: number[] = [];
  for (const position of positions) {
    if (code > 1) at.push(position);
    for (let bit = 7; bit >= 0; bit--) {
      if (code === 1) at = [position];
      code = code * 2 + (((octets[position] ?? 0) >> bit) & 1);
      const octet = SYMBOLS.get(code);
      if (octet === undefined) continue;
      if (octet === 256) return false;
      into.push({ octet, at });
      code = 1;
    }
  }
  // What is left are fewer than eight bits, all of them 1.
  return !isAll || (code < 256 && (code & (code + 1)) === 0);
}

const PREFACE = 24;
const HEAD = 9;
const MAX_FRAME = 16_384;
const MAX_TABLE = 4096;
const [HEADERS, CONTINUATION] = [1, 9];
const [END_HEADERS, PADDED, PRIORITY] = [0x4, 0x8, 0x20];

/** Bits of the first integer, what it is, and the least first octet of it (RFC 7541 §6). */
const KINDS = [
  [7, "indexed", 0x80],
  [6, "added", 0x40],
  [5, "resized", 0x20],
  [4, "passing", 0],
] as const;

/** By the code with a 1 before it, so that its zeros count. */
const SYMBOLS: ReadonlyMap<number, number> = new Map(
  huffmanCodes().map(({ code, length }, symbol) => [2 ** length + code, symbol]),
);

/** RFC 7541 Appendix A: the names. */
const STATIC: readonly string[] = [
  ...":authority :method :method :path :path :scheme :scheme".split(" "),
  ...Array<string>(7).fill(":status"),
  ..."accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow".split(
    " ",
  ),
  ..."authorization cache-control content-disposition content-encoding content-language content-length".split(
    " ",
  ),
  ..."content-location content-range content-type cookie date etag expect expires from host if-match".split(
    " ",
  ),
  ..."if-modified-since if-none-match if-range if-unmodified-since last-modified link location".split(" "),
  ..."max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server".split(
    " ",
  ),
  ..."set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate".split(" "),
];
