import { FLAG, FRAME, frame, PREFACE, settingsFrame } from "../../abuse/frames.ts";
import { indexed, integer, literal, sizeUpdate } from "../../abuse/hpack.ts";

/** Connections to be read, and how. */
export interface Generated {
  /** A connection that keeps the rules, with a table that grows, shrinks and is used. */
  readonly octets: Buffer;
  /** The same, and then a block that breaks them. */
  readonly broken: Buffer;
  readonly cuts: readonly number[];
  readonly work: number;
  /** How many headers have a value in it. */
  readonly headers: number;
}

/** Makes connections of the octets of an input. */
export function generate(input: Buffer): Generated {
  const choices = new Choices(input);
  const cuts = Array.from({ length: 1 + choices.below(4) }, () => choices.one(CUTS));
  const work = 1 + choices.below(64);
  const frames: Buffer[] = [PREFACE, settingsFrame()];
  const known = new Table();
  let headers = 0;
  for (let left = 1 + choices.below(3), stream = 1; left > 0; left--, stream += 2) {
    const parts: Buffer[] = [];
    if (choices.below(8) === 0) {
      const size = choices.one([0, 4096, choices.below(256)]);
      known.resize(size);
      parts.push(sizeUpdate(size));
    }
    for (let fields = 1 + choices.below(5); fields > 0; fields--) {
      const { block, hasValue } = field(choices, known);
      parts.push(block);
      if (hasValue) headers++;
    }
    frames.push(...framesOf(choices, stream, Buffer.concat(parts)));
    if (choices.below(3) === 0) frames.push(other(choices, stream));
  }
  const octets = Buffer.concat(frames);
  const next = Buffer.concat([indexed(known.end), literal(":authority", "/tmp/x")]);
  const broken = Buffer.concat([octets, frame(FRAME.headers, FLAG.endHeaders, 99, next)]);
  return { octets, broken, cuts, work, headers };
}

function field(choices: Choices, known: Table): { readonly block: Buffer; readonly hasValue: boolean } {
  const name = choices.one(NAMES);
  const at = known.find(name);
  const form = choices.below(32);
  if (at !== undefined && form === 0) return { block: indexed(at), hasValue: false };
  const nameIndex = form & 1 ? (at ?? (name === ":authority" ? 1 : 0)) : 0;
  const value = valueOf(choices);
  const representation = choices.one(["added", "passing", "never"] as const);
  if (representation === "added") known.add(name, value);
  const [huffmanName, huffmanValue] = [(form & 2) !== 0, (form & 4) !== 0];
  const block = literal(name, value, { representation, nameIndex, huffmanName, huffmanValue });
  const isLong = !huffmanValue && value.length >= 127;
  if (isLong && choices.below(2) === 0) return { block: overlong(block, value, choices), hasValue: true };
  return { block, hasValue: value.length > 0 };
}

/** The same block with zeros at the end of the value's length, of which the platform takes some. */
function overlong(block: Buffer, value: string, choices: Choices): Buffer {
  const at = block.length - value.length;
  const length = integer(value.length, 0x7f, 0);
  const zeros = choices.below(7 - length.length);
  const longer = Buffer.concat([length, Buffer.alloc(zeros)]);
  for (let n = 1; n < longer.length - 1; n++) longer[n] = (longer[n] ?? 0) | 0x80;
  return Buffer.concat([block.subarray(0, at - length.length), longer, block.subarray(at)]);
}

function valueOf(choices: Choices): string {
  if (choices.below(32) === 0) return choices.one(LONG_VALUES);
  return choices.below(2) === 0 ? choices.one(VALUES) : choices.octets(choices.below(24));
}

/** A block as HEADERS and CONTINUATION, with padding and a priority or without. */
function framesOf(choices: Choices, stream: number, block: Buffer): Buffer[] {
  const size = Math.min(16_000, Math.max(1, Math.ceil(block.length / (1 + choices.below(6)))));
  const padding = choices.below(3) === 0 ? choices.below(256) : undefined;
  const hasPriority = choices.below(3) === 0;
  const pieces: Buffer[] = [];
  for (let at = 0; at < block.length; at += size) pieces.push(block.subarray(at, at + size));
  return pieces.map((piece, n) => {
    const end = n === pieces.length - 1 ? FLAG.endHeaders : 0;
    if (n > 0) return frame(FRAME.continuation, end, stream, piece);
    const flags = end | (padding === undefined ? 0 : FLAG.padded) | (hasPriority ? FLAG.priority : 0);
    const before = padding === undefined ? [] : [padding];
    const payload = [Buffer.from(before), Buffer.alloc(hasPriority ? 5 : 0, 0x2f), piece];
    return frame(FRAME.headers, flags, stream, Buffer.concat([...payload, Buffer.alloc(padding ?? 0, 0x2f)]));
  });
}

/** A frame that holds no block, though it looks like one. */
function other(choices: Choices, stream: number): Buffer {
  const type = choices.one([FRAME.data, FRAME.ping, FRAME.rstStream, 0xbe]);
  return frame(type, choices.below(256), stream, literal(":authority", "/tmp/x", { nameIndex: 1 }));
}

/** The encoder's own idea of the dynamic table (RFC 7541 §4). */
class Table {
  #entries: { readonly name: string; readonly size: number }[] = [];
  #limit = 4096;

  /** The lowest index of a name. */
  find(name: string): number | undefined {
    const at = this.#entries.findIndex((entry) => entry.name === name);
    return at < 0 ? undefined : 62 + at;
  }

  /** The first index that is not there. */
  get end(): number {
    return 62 + this.#entries.length;
  }

  add(name: string, value: string): void {
    this.#entries.unshift({ name, size: 32 + name.length + value.length });
    this.resize(this.#limit);
  }

  resize(limit: number): void {
    this.#limit = limit;
    let size = 0;
    this.#entries = this.#entries.filter((entry) => (size += entry.size) <= limit);
  }
}

/** The octets of an input as so many choices; the last is repeated for ever. */
class Choices {
  readonly #octets: Buffer;
  #at = 0;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  below(limit: number): number {
    const octet = this.#octets[Math.min(this.#at++, this.#octets.length - 1)] ?? 0;
    return octet % limit;
  }

  one<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item;
  }

  octets(length: number): string {
    return Buffer.from(Array.from({ length }, () => this.below(256))).toString("latin1");
  }
}

const CUTS = [1, 2, 3, 5, 8, 13, 40, 100, 1000, 100_000];
const NAMES = [
  ":authority",
  ":authority",
  ":authority",
  ":path",
  "host",
  "user-agent",
  ":authorit",
  ":authoritz",
  ":authority/",
  "x/y",
  "",
];
const VALUES = [
  "/tmp/agent.sock",
  "/",
  "//",
  "localhost",
  "",
  "tmp%2Fa.sock",
  "%",
  "/run/my agent/a b.sock",
  "outbound|8081||x/y",
  'user@host!/?q="1"#f',
  "\\\\.\\pipe\\agent",
  "<a>{b}^`c`",
  "caf\xe9/\xff\x00\x1f\x7f",
  "/v".repeat(40),
  "/a/b".repeat(50),
];
/** One of them leaves room in the table, the other empties it. */
const LONG_VALUES = ["v/".repeat(700), "a".repeat(4100)];
