import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeOid, encodeOid } from "./oid.ts";
import { openDer, SEQUENCE } from "./reader.ts";
import { readTime } from "./time.ts";
import * as der from "./writer.ts";

const open = (...octets: number[]) => openDer(Uint8Array.from(octets), "INVALID_CSR", 1000, "thing");

describe("DER reader", () => {
  it.each([
    ["an indefinite length", [0x30, 0x80, 0, 0], /indefinite/],
    ["a length in long form that would fit the short one", [0x30, 0x81, 0x01, 0x05], /not minimal/],
    [
      "a length with a leading zero octet",
      [0x30, 0x82, 0x00, 0x80, ...Array<number>(128).fill(0)],
      /not minimal/,
    ],
    ["a length beyond the end", [0x30, 0x02, 0x05], /cut short/],
    ["a length of four octets", [0x30, 0x84, 1, 0, 0, 0], /cannot be right/],
    ["a missing length", [0x30], /cut short/],
    ["nothing", [], /missing/],
    ["another tag", [0x31, 0x00], /tag 0x31, expected 0x30/],
  ])("refuses %s", (_, octets, detail) => {
    expect(() => open(...octets).enter(SEQUENCE, "thing")).toThrowCode("INVALID_CSR", detail);
  });

  it("refuses high tag numbers", () => {
    expect(() => open(0x3f, 0x20, 0x00).anyElement("thing")).toThrowCode("INVALID_CSR", /tag number/);
  });

  it("refuses nesting deeper than 16 without overflowing the stack", () => {
    let nested: der.Der = der.sequence();
    for (let level = 0; level < 400; level++) nested = der.sequence(nested);
    const bytes = der.encode(nested);
    expect(() => openDer(bytes, "INVALID_CSR", 100_000, "thing").anyElement("thing")).toThrowCode(
      "INVALID_CSR",
      /nested too deeply/,
    );
  });

  it("refuses more bytes than allowed before looking at them", () => {
    expect(() => openDer(new Uint8Array(1001), "INVALID_CSR", 1000, "thing")).toThrowCode(
      "INVALID_CSR",
      /at most 1000/,
    );
  });

  it.each([
    ["empty", [0x02, 0x00]],
    ["padded with zero", [0x02, 0x02, 0x00, 0x7f]],
    ["padded with ones", [0x02, 0x02, 0xff, 0x80]],
  ])("refuses an integer that is %s", (_, octets) => {
    expect(() => open(...octets).integer("n")).toThrowCode("INVALID_CSR");
  });

  it("refuses booleans other than 00 and FF", () => {
    expect(() => open(0x01, 0x01, 0x01).boolean("b")).toThrowCode("INVALID_CSR");
    expect(open(0x01, 0x01, 0xff).boolean("b")).toBe(true);
  });

  it.each([
    ["trailing zero bits", [0x03, 0x02, 0x00, 0xa0]],
    ["set bits among the unused ones", [0x03, 0x02, 0x05, 0xb0]],
    ["unused bits but no octets", [0x03, 0x01, 0x03]],
    ["nine unused bits", [0x03, 0x02, 0x09, 0x80]],
  ])("refuses named bits with %s", (_, octets) => {
    expect(() => open(...octets).namedBits("bits")).toThrowCode("INVALID_CSR");
  });

  it("reads named bits by number", () => {
    expect(open(0x03, 0x02, 0x03, 0xa8).namedBits("bits")).toBe(0b10101);
    expect(open(0x03, 0x03, 0x07, 0x80, 0x80).namedBits("bits")).toBe(1 | (1 << 8));
  });

  it("never does anything with arbitrary bytes but read them or throw its code", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          openDer(bytes, "INVALID_CSR", 1000, "thing").anyElement("thing");
        } catch (error) {
          expect(error).toHaveProperty("code", "INVALID_CSR");
        }
      }),
    );
  });
});

describe("DER writer", () => {
  it.each([0, 1, 127, 128, 255, 256, 65535, 65536])(
    "writes a length of %i that the reader takes back",
    (length) => {
      const content = Buffer.alloc(length, 7);
      const bytes = der.encode(der.sequence(der.octetString(content)));
      const inner = openDer(bytes, "INTERNAL", 100_000, "thing").enter(SEQUENCE, "thing");
      expect(Buffer.compare(inner.content(0x04, "octets"), content)).toBe(0);
      inner.done("thing");
    },
  );

  it("writes unsigned integers in their shortest form", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 24 }), (magnitude) => {
        const bytes = der.encode(der.unsignedInteger(magnitude));
        const content = openDer(bytes, "INTERNAL", 100, "n").integer("n");
        const value = (octets: Uint8Array) => BigInt(`0x${Buffer.from(octets).toString("hex")}`);
        expect(content[0]).toBeLessThan(0x80);
        expect(value(content)).toBe(value(magnitude));
      }),
    );
  });

  it("switches from UTCTime to GeneralizedTime at the first second of 2050", () => {
    const first = Date.UTC(2050, 0, 1) / 1000;
    expect(Buffer.from(der.encode(der.time(first - 1))).toString("latin1")).toBe("\x17\x0d491231235959Z");
    expect(Buffer.from(der.encode(der.time(first))).toString("latin1")).toBe("\x18\x0f20500101000000Z");
  });

  it("writes times that the reader takes back", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => {
        const bytes = der.encode(der.time(seconds));
        expect(openDer(bytes, "INTERNAL", 100, "t").time("t")).toBe(seconds);
      }),
    );
  });
});

describe("times of RFC 5280", () => {
  it.each([
    ["20490101000000Z", true],
    ["2601010000Z", false],
    ["260101000000+0000", false],
    ["20500101000000.5Z", true],
    ["260230000000Z", false],
    ["261301000000Z", false],
    ["260101240000Z", false],
    ["260101000060Z", false],
    ["26010100000 Z", false],
    ["", false],
  ])("refuses %s", (text, generalized) => {
    expect(readTime(Buffer.from(text), generalized)).toBeUndefined();
  });

  it("knows leap days", () => {
    expect(readTime(Buffer.from("280229000000Z"), false)).toBe(Date.UTC(2028, 1, 29) / 1000);
    expect(readTime(Buffer.from("21000229000000Z"), true)).toBeUndefined();
  });
});

describe("object identifiers", () => {
  it("come back as they were written", () => {
    const arc = fc.integer({ min: 0, max: 2 ** 31 - 1 });
    fc.assert(
      fc.property(
        fc.constantFrom("0.9", "1.3", "2.5", "2.25"),
        fc.array(arc, { maxLength: 8 }),
        (root, arcs) => {
          const dotted = [root, ...arcs].join(".");
          expect(decodeOid(encodeOid(dotted))).toBe(dotted);
        },
      ),
    );
  });

  it("may have arcs of 128 bits", () => {
    const content = Uint8Array.from([0x69, 0x83, ...Array<number>(17).fill(0xff), 0x7f]);
    expect(decodeOid(content)).toBe(`2.25.${(3n << 126n) | ((1n << 126n) - 1n)}`);
  });

  it.each([[[]], [[0x80, 0x01]], [[0x2a, 0x86]], [Array<number>(65).fill(1)]])(
    "are refused as %j",
    (octets) => {
      expect(decodeOid(Uint8Array.from(octets))).toBeUndefined();
    },
  );
});
