import { AuthorityFront } from "../../../src/rpc/authority/authority-front.ts";
import { FRAME, frame, PREFACE } from "../../abuse/frames.ts";
import type { FuzzTarget } from "../fuzzer.ts";
import { generate } from "./generate-connection.ts";
import { type ReadConnection, type ReadOctet, readConnection } from "./read-connection.ts";

/**
 * HTTP/2 from a client as the front of the Unix sockets sees it. The octets are taken twice: as a connection, and as the
 * choices of one that is well-formed. Either way an independent reading says where an `:authority` is written: what is
 * refused there has to be accepted afterwards, and no other octet may change, however the connection is cut.
 */
export const authorityFront: FuzzTarget = {
  name: "authority-front",
  dictionary: [
    PREFACE,
    frame(FRAME.headers, 5, 1, latin1("\x01\x04/a/b")),
    frame(FRAME.headers, 1, 3, latin1("\x41\x84")),
    frame(FRAME.continuation, 4, 3, latin1("\x40\x0a:authority\x02//")),
    frame(FRAME.headers, 0x2d, 5, latin1("\x02\x00\x00\x00\x00\x00\xbe\x00\x00")),
    frame(FRAME.settings, 0, 0, latin1("\x00\x01\x00\x00\x00\x00")),
    frame(FRAME.data, 1, 1, latin1("\x00\x00\x00\x00\x00")),
    frame(FRAME.ping, 0, 0, latin1("12345678")),
    latin1("\x3f\xe1\x1f"),
    latin1("\x20"),
    latin1("\xff\x80\x80\x80\x80\x80\x01"),
    latin1("\x41\x8b"),
  ],
  run(input) {
    const step = 1 + (input.length % 7);
    check(input, [step], 1 + (input.length % 64));
    const { octets, cuts, work, headers, broken } = generate(input);
    const { fields, isWhole } = readConnection(octets);
    const read = fields.filter(({ value }) => value.length > 0);
    if (!isWhole || read.length !== headers) throw new Error("a good connection is not read as one");
    if (check(octets, cuts, work)) throw new Error("stops looking at a good connection");
    const front = new AuthorityFront();
    compare(broken, front.push(Buffer.from(broken)), readConnection(broken), new Set());
    if (!front.isBlind) throw new Error("follows an index that is not there");
  },
};

/** Leads a connection through the front, whole and cut, and compares. Says whether the front stopped looking. */
function check(before: Buffer, cuts: readonly number[], work: number): boolean {
  const front = new AuthorityFront();
  const whole = front.push(Buffer.from(before));
  const reading = readConnection(before);
  const uncut = compare(before, whole, reading, new Set());
  const { octets, ends } = inPieces(before, cuts, work);
  if (!octets.equals(whole)) {
    const once = compare(before, octets, reading, ends);
    for (const [n, { value }] of reading.fields.entries()) {
      for (const [i, { octet }] of value.entries()) {
        const is = once.fields[n]?.value[i]?.octet;
        if (is === octet || is === uncut.fields[n]?.value[i]?.octet) continue;
        throw new Error(`header ${n}: octet ${i} becomes another once cut`);
      }
    }
  }
  if (!new AuthorityFront().push(Buffer.from(whole)).equals(whole)) throw new Error("rewrites what it wrote");
  return front.isBlind;
}

/**
 * Reads what came out. `ends` says where something was passed on before the next was there.
 *
 * @throws Error unless `after` is `before` with every `:authority` acceptable and nothing else changed.
 */
function compare(
  before: Buffer,
  after: Buffer,
  { fields, isWhole }: ReadConnection,
  ends: ReadonlySet<number>,
): ReadConnection {
  if (after.length !== before.length) throw new Error("has another length");
  const mayChange = new Set<number>();
  const reread = readConnection(after);
  if (reread.isWhole !== isWhole) throw new Error("breaks or mends the protocol");
  if (reread.fields.length !== fields.length) throw new Error("adds or removes a header");
  for (const [n, field] of fields.entries()) {
    const now = reread.fields[n];
    if (now?.name !== field.name || now.value.length !== field.value.length) {
      throw new Error(`changes the shape of header ${n}, "${field.name}"`);
    }
    if (field.name !== ":authority") continue;
    for (const [i, was] of field.value.entries()) {
      const octet = now.value[i]?.octet ?? 0;
      const isMeant = REFUSED[was.octet]
        ? !REFUSED[octet] || (octet === was.octet && field.isHuffman && mayStay(was, ends))
        : octet === was.octet;
      if (!isMeant) throw new Error(`:authority: octet ${i} was ${was.octet} and is ${octet}`);
      if (REFUSED[was.octet]) for (const at of was.at) mayChange.add(at);
    }
  }
  for (let at = 0; at < before.length; at++) {
    if (before[at] === after[at] || mayChange.has(at)) continue;
    throw new Error(`writes at ${at}, where nothing is refused`);
  }
  return reread;
}

/** What of a Huffman-coded value may stay: no code is as long, or some of it was passed on before the rest was there. */
function mayStay({ octet, at }: ReadOctet, ends: ReadonlySet<number>): boolean {
  if (octet === SLASH) return false;
  if (octet > 127 || WITHOUT_SUBSTITUTE.includes(octet)) return true;
  return at.some((one, n) => n > 0 && (one !== (at[n - 1] ?? 0) + 1 || ends.has(one)));
}

/** As a socket's owner does it: what may be passed on is gone at once, and a turn may end amid a chunk. */
function inPieces(before: Buffer, cuts: readonly number[], work: number): Pieces {
  const front = new AuthorityFront();
  const octets = Buffer.alloc(before.length);
  const ends = new Set<number>();
  const read = Buffer.from(before);
  for (let begin = 0, n = 0; begin < read.length; n++) {
    const chunk = read.subarray(begin, begin + (cuts[n % cuts.length] ?? 1));
    for (let at = 0; at < chunk.length; ) {
      const next = front.take(chunk, at, work);
      if (next <= at || next > chunk.length) throw new Error("does not go on");
      chunk.copy(octets, begin + at, at, next);
      at = next;
      ends.add(begin + at);
    }
    begin += chunk.length;
  }
  return { octets, ends };
}

interface Pieces {
  readonly octets: Buffer;
  /** Where something was passed on before the next was looked at. */
  readonly ends: ReadonlySet<number>;
}

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** By octet: whether a client may mean it and the platform refuses it, or might. */
const REFUSED: readonly boolean[] = Array.from(
  { length: 256 },
  (_, octet) => octet >= 32 && octet !== 127 && !/[\w$%&'()*+,.:;=~[\]-]/u.test(String.fromCharCode(octet)),
);
const SLASH = 0x2f;
/** Octets below 128 for which no accepted one has a code that is as long. */
const WITHOUT_SUBSTITUTE = latin1("#<>\\^`{}");
