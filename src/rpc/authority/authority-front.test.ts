import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FLAG, FRAME, frame, PREFACE, settingsFrame } from "../../../test/abuse/frames.ts";
import { huffman, indexed, literal, sizeUpdate } from "../../../test/abuse/hpack.ts";
import { type Field, HpackDecoder } from "../../../test/abuse/hpack-decoder.ts";
import { AuthorityFront } from "./authority-front.ts";

const RUNS = 250;

describe("AuthorityFront", () => {
  it("turns the slash into an octet that is accepted, in place", () => {
    const block = literal(":authority", "/tmp/agent.sock");
    const octets = connectionOf(frame(FRAME.headers, FLAG.endHeaders, 1, block));
    const front = new AuthorityFront();
    expect(front.push(octets)).toBe(octets);
    expect(octets.subarray(-15).toString()).toBe("3tmp3agent.sock");
    expect(front.isBlind).toBe(false);
  });

  it("turns one bit of a Huffman-coded slash", () => {
    const block = literal(":authority", "/tmp/agent.sock", { huffmanValue: true });
    const octets = connectionOf(frame(FRAME.headers, FLAG.endHeaders, 1, block));
    new AuthorityFront().push(octets);
    const coded = huffman(Buffer.from("3tmp3agent.sock"));
    expect(octets.subarray(-coded.length)).toEqual(coded);
  });

  it.each([1, 2, 3, 4, 5])("follows an integer in %i octets more, which the platform takes", (octets) => {
    const length = Buffer.from([0x7f, 200 - 127, ...Array<number>(octets).fill(0)].slice(0, octets + 1));
    for (let at = 1; at < octets; at++) length[at] = (length[at] ?? 0) | 0x80;
    const padded = Buffer.concat([Buffer.of(0, 1, 0x6b), length, Buffer.alloc(200, 0x61)]);
    const front = new AuthorityFront();
    front.push(connectionOf(frame(FRAME.headers, FLAG.endHeaders, 1, padded)));
    const block = literal(":authority", "/tmp/agent.sock");
    const after = front.push(Buffer.from(frame(FRAME.headers, FLAG.endHeaders, 3, block)));
    expect(after.subarray(-15).toString()).toBe("3tmp3agent.sock");
  });

  it("leaves everything else as it is: other headers, other frames, an authority that needs nothing", () => {
    const untouched = [
      literal(":authority", "localhost", { representation: "added" }),
      literal("authority", "/tmp/x"),
      literal(":authoritz", "/tmp/x"),
      literal("", "/tmp/x", { nameIndex: 38 }),
      literal(":path", "/tmp/x", { nameIndex: 4, huffmanValue: true }),
    ];
    const octets = connectionOf(
      ...untouched.map((block, i) => frame(FRAME.headers, FLAG.endHeaders, 2 * i + 1, block)),
      frame(FRAME.data, 0, 1, literal(":authority", "/tmp/x")),
      frame(0xbe, 0xff, 3, literal(":authority", "/tmp/x")),
    );
    const before = Buffer.from(octets);
    new AuthorityFront().push(octets);
    expect(octets).toEqual(before);
  });

  it("changes :authority alone, and as much as must be, however a connection is written and cut", () => {
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 12 }), cuts, (requests, sizes) => {
        const encoder = new Encoder();
        const blocks = requests.map((fields) => encoder.block(fields));
        const octets = connectionOf(...blocks.flatMap((block, i) => framesOf(2 * i + 1, block, requests[i])));
        const rewritten = pushInPieces(octets, sizes);
        expect(rewritten.length).toBe(octets.length);

        const [plain, front] = [new HpackDecoder(), new HpackDecoder()];
        for (const [i, block] of blocksOf(rewritten).entries()) {
          const expected = plain.decode(blocks[i] ?? Buffer.alloc(0));
          const actual = front.decode(block);
          expect(actual.map(([name]) => name)).toEqual(expected.map(([name]) => name));
          for (const [j, [name, value]] of actual.entries()) {
            const original = expected[j]?.[1] ?? "";
            if (name !== ":authority") expect(value).toBe(original);
            else expectAcceptable(value, original);
          }
          expect(front.entries).toBe(plain.entries);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it("gives the same octets however they are cut, unless a bar's code is cut in two", () => {
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 6 }), cuts, (requests, sizes) => {
        fc.pre(!requests.flatMap(({ fields }) => fields).some(({ value }) => /[!"?@|]/u.test(value)));
        const encoder = new Encoder();
        const octets = connectionOf(
          ...requests.flatMap((one, i) => framesOf(2 * i + 1, encoder.block(one), one)),
        );
        const whole = new AuthorityFront().push(Buffer.from(octets));
        expect(pushInPieces(octets, sizes)).toEqual(whole);
      }),
      { numRuns: RUNS },
    );
  });

  it("takes any octets at all: never throws, never loops, and returns as many", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), fc.boolean(), cuts, (noise, withPreface, sizes) => {
        const octets = withPreface ? connectionOf(noise) : Buffer.from(noise);
        expect(pushInPieces(octets, sizes).length).toBe(octets.length);
      }),
      { numRuns: RUNS },
    );
  });

  it("takes any octets as a header block", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), cuts, (blocks, sizes) => {
        const octets = connectionOf(
          ...blocks.map((block, i) => frame(FRAME.headers, FLAG.endHeaders, 2 * i + 1, block)),
        );
        const rewritten = pushInPieces(octets, sizes);
        expect(rewritten.length).toBe(octets.length);
        // Where the octets happen to be HPACK, they stay so and mean the same.
        const [plain, front] = [new HpackDecoder(), new HpackDecoder()];
        for (const [i, block] of blocksOf(rewritten).entries()) {
          const expected = attempt(() => plain.decode(Buffer.from(blocks[i] ?? [])));
          if (expected === undefined) break;
          const others = (fields: readonly Field[]) => fields.filter(([name]) => name !== ":authority");
          expect(others(front.decode(block))).toEqual(others(expected));
        }
      }),
      { numRuns: RUNS },
    );
  });

  it("takes a good connection with some octets damaged", () => {
    const damage = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(
        fc.array(request, { minLength: 1, maxLength: 6 }),
        damage,
        cuts,
        (requests, damages, sizes) => {
          const encoder = new Encoder();
          const octets = connectionOf(
            ...requests.flatMap((one, i) => framesOf(2 * i + 1, encoder.block(one), one)),
          );
          for (const [at, octet] of damages) octets[24 + (at % (octets.length - 24))] = octet;
          expect(pushInPieces(octets, sizes).length).toBe(octets.length);
        },
      ),
      { numRuns: RUNS },
    );
  });

  describe("stops looking when the client breaks the protocol, at", () => {
    const slash = literal(":authority", "/tmp/x");
    const headers = (block: Uint8Array) => frame(FRAME.headers, FLAG.endHeaders, 1, block);
    it.each([
      ["an index that is not there", headers(indexed(62))],
      ["index zero", headers(indexed(0))],
      ["a name that is not there", headers(literal("", "x", { nameIndex: 62 }))],
      ["a table larger than was offered", headers(sizeUpdate(4097))],
      ["an integer without end", headers(Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01))],
      ["a block that ends amid a field", headers(slash.subarray(0, -1))],
      ["the end of a string within it", headers(Buffer.of(0x00, 0x84, 0xff, 0xff, 0xff, 0xff))],
      ["more than seven bits of padding", headers(Buffer.of(0x01, 0x82, 0x1f, 0xff))],
      ["padding of zeros", headers(Buffer.of(0x01, 0x81, 0x18))],
      [
        "padding longer than the frame",
        frame(FRAME.headers, FLAG.endHeaders | FLAG.padded, 1, Buffer.of(9, 0)),
      ],
      ["padding without its length", frame(FRAME.headers, FLAG.endHeaders | FLAG.padded, 1)],
      ["a priority cut short", frame(FRAME.headers, FLAG.endHeaders | FLAG.priority, 1, Buffer.of(0, 0))],
      ["headers of no stream", frame(FRAME.headers, FLAG.endHeaders, 0, slash)],
      ["a frame that is too large", frame(FRAME.data, 0, 1, Buffer.alloc(16_385))],
      ["CONTINUATION out of the blue", frame(FRAME.continuation, FLAG.endHeaders, 1, slash)],
      ["another frame amid a block", Buffer.concat([frame(FRAME.headers, 0, 1), frame(FRAME.ping, 0, 0)])],
      [
        "CONTINUATION of another stream",
        Buffer.concat([frame(FRAME.headers, 0, 1), frame(FRAME.continuation, FLAG.endHeaders, 3)]),
      ],
    ])("%s", (_what, octets) => {
      const front = new AuthorityFront();
      front.push(connectionOf(frame(FRAME.headers, FLAG.endHeaders, 1, slash)));
      expect(front.isBlind).toBe(false);
      front.push(Buffer.from(octets));
      expect(front.isBlind).toBe(true);
      const after = headers(slash);
      expect(front.push(Buffer.from(after))).toEqual(after);
    });
  });
});

const value = fc.oneof(
  fc.constantFrom(
    "/tmp/agent.sock",
    "localhost",
    "tmp%2Fa.sock",
    "",
    "/",
    "outbound|8081||x/y",
    "my agent/x",
  ),
  fc.string({ maxLength: 40 }).map((text) => Buffer.from(text).toString("latin1")),
  fc
    .oneof({ weight: 9, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.nat(4500) })
    .map((length) => "v/".repeat(length).slice(0, length)),
);
const field = fc.record({
  name: fc.oneof(
    fc.constant(":authority"),
    fc.constantFrom(":path", "user-agent", "te", "host", ":authorit", "x/y"),
    fc.string({ maxLength: 12 }).map((text) => Buffer.from(text).toString("latin1")),
  ),
  value,
  representation: fc.constantFrom("added", "added", "passing", "never"),
  huffmanName: fc.boolean(),
  huffmanValue: fc.boolean(),
  byIndex: fc.boolean(),
  resize: fc.option(fc.nat(4096), { freq: 12, nil: undefined }),
});
const request = fc.record({
  fields: fc.array(field, { maxLength: 6 }),
  padding: fc.option(fc.nat(255), { nil: undefined }),
  priority: fc.boolean(),
  parts: fc.integer({ min: 1, max: 4 }),
});
const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 });

type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** Writes fields by index where its own copy of the table has them, as a real encoder would. */
class Encoder {
  readonly #mirror = new HpackDecoder();
  #known: Field[] = [];

  block({ fields }: Request): Buffer {
    const parts: Buffer[] = [];
    const write = (part: Buffer): void => {
      this.#mirror.decode(part);
      // What was evicted is what is no longer among the newest.
      this.#known = this.#known.slice(0, this.#mirror.entries);
      parts.push(part);
    };
    for (const { name, value: text, byIndex, resize, ...form } of fields) {
      if (resize !== undefined) write(sizeUpdate(resize));
      const at = this.#known.findIndex(([known]) => known === name);
      if (byIndex && at >= 0 && this.#known[at]?.[1] === text) {
        write(indexed(62 + at));
        continue;
      }
      const nameIndex = !byIndex ? 0 : at >= 0 ? 62 + at : name === ":authority" ? 1 : 0;
      if (form.representation === "added") this.#known.unshift([name, text]);
      write(literal(name, text, { ...form, nameIndex }));
    }
    return Buffer.concat(parts);
  }
}

function connectionOf(...frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat([PREFACE, settingsFrame(), ...frames]);
}

/** A block as HEADERS and CONTINUATION with padding and priority as told. */
function framesOf(stream: number, block: Buffer, options: Request | undefined): Buffer[] {
  const { padding, priority = false, parts = 1 } = options ?? {};
  const size = Math.max(1, Math.min(16_000, Math.ceil(block.length / parts)));
  const pieces: Buffer[] = [];
  for (let at = 0; at < block.length || at === 0; at += size) pieces.push(block.subarray(at, at + size));
  return pieces.map((piece, i) => {
    const end = i === pieces.length - 1 ? FLAG.endHeaders : 0;
    if (i > 0) return frame(FRAME.continuation, end, stream, piece);
    const flags = end | (padding === undefined ? 0 : FLAG.padded) | (priority ? FLAG.priority : 0);
    return frame(
      FRAME.headers,
      flags,
      stream,
      Buffer.concat([
        padding === undefined ? Buffer.alloc(0) : Buffer.of(padding),
        priority ? Buffer.alloc(5, 1) : Buffer.alloc(0),
        piece,
        Buffer.alloc(padding ?? 0),
      ]),
    );
  });
}

/** The header blocks in the frames of a connection that is written as it should be. */
function blocksOf(octets: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  const open: Buffer[] = [];
  for (let at = PREFACE.length; at < octets.length; ) {
    const end = at + 9 + octets.readUIntBE(at, 3);
    const [type = 0, flags = 0] = octets.subarray(at + 3, at + 5);
    let fragment = octets.subarray(at + 9, end);
    if (type === FRAME.headers) {
      const padding = flags & FLAG.padded ? (fragment[0] ?? 0) : 0;
      const skipped = (flags & FLAG.padded ? 1 : 0) + (flags & FLAG.priority ? 5 : 0);
      fragment = fragment.subarray(skipped, fragment.length - padding);
    }
    if (type === FRAME.headers || type === FRAME.continuation) {
      open.push(fragment);
      if (flags & FLAG.endHeaders) blocks.push(Buffer.concat(open.splice(0)));
    }
    at = end;
  }
  return blocks;
}

/** Pushes a copy of the octets in pieces of the sizes given, over and over, and joins what comes out. */
function pushInPieces(octets: Buffer, sizes: readonly number[]): Buffer {
  const front = new AuthorityFront();
  const out: Buffer[] = [];
  for (let at = 0, i = 0; at < octets.length; i++) {
    const end = at + (sizes[i % sizes.length] ?? 1);
    out.push(front.push(Buffer.from(octets.subarray(at, end))));
    at = end;
  }
  return Buffer.concat(out);
}

function expectAcceptable(actual: string, original: string): void {
  expect(actual.length).toBe(original.length);
  for (let i = 0; i < actual.length; i++) {
    const octet = actual[i] ?? "";
    if (octet !== original[i]) expect(octet).toMatch(/[\w$%&'()*+,.:;=~[\]-]/u);
    else expect(octet).not.toBe("/");
  }
}

function attempt<T>(task: () => T): T | undefined {
  try {
    return task();
  } catch {
    return undefined;
  }
}
