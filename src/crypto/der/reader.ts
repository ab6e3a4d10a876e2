import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { decodeOid } from "./oid.ts";
import { readTime } from "./time.ts";

/**
 * Opens `bytes` for strict reading as DER (X.690 §8, §10). Every fault throws an `AssayError` of `code`.
 *
 * Refused: more than `maxBytes`, indefinite and non-minimal lengths, tags above 30, nesting deeper than 16.
 * Values that come back are views of `bytes`, never copies.
 */
export function openDer(bytes: Uint8Array, code: ErrorCode, maxBytes: number, what: string): DerReader {
  if (bytes.length > maxBytes) {
    throw new AssayError(code, `${what} must be at most ${maxBytes} bytes, is ${bytes.length}`);
  }
  return new DerReader(bytes, 0, bytes.length, code, 0);
}

/** A cursor over the elements of one constructed value. Made by {@link openDer}. */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #code: ErrorCode;
  readonly #depth: number;
  #position: number;
  #end: number;
  #contentStart = 0;
  #contentEnd = 0;

  constructor(bytes: Uint8Array, start: number, end: number, code: ErrorCode, depth: number) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
    this.#code = code;
    this.#depth = depth;
  }

  /** Throws the reader's error. `detail` names the field and what was expected. */
  fail(detail: string): never {
    throw new AssayError(this.#code, detail);
  }

  /** Whether another element follows. */
  more(): boolean {
    return this.#position < this.#end;
  }

  /** Whether another element follows and has this identifier octet. */
  is(tag: number): boolean {
    return this.#position < this.#end && this.#bytes[this.#position] === tag;
  }

  /** Throws unless everything was read: nothing may follow the last known element. */
  done(what: string): void {
    if (this.#position !== this.#end) this.fail(`${what} has trailing bytes`);
  }

  /** Enters a constructed element. */
  enter(tag: number, what: string): DerReader {
    this.#expect(tag, what);
    return this.#child(what);
  }

  /** The content of a primitive element. */
  content(tag: number, what: string): Uint8Array {
    this.#expect(tag, what);
    return this.#bytes.subarray(this.#contentStart, this.#contentEnd);
  }

  /** One whole element with this tag, identifier and length octets included; what is inside is not looked at. */
  element(tag: number, what: string): Uint8Array {
    const start = this.#position;
    this.#expect(tag, what);
    return this.#bytes.subarray(start, this.#contentEnd);
  }

  /** One whole element of any tag, every constructed level of it checked to be DER. */
  anyElement(what: string): Uint8Array {
    const start = this.#position;
    this.#walk(what, this.#depth);
    return this.#bytes.subarray(start, this.#position);
  }

  /** Identifier octet of the element ahead, or −1 at the end. */
  peek(): number {
    return this.#position < this.#end ? (this.#bytes[this.#position] as number) : -1;
  }

  /** OBJECT IDENTIFIER in dotted form. */
  oid(what: string): string {
    this.#expect(OID, what);
    return (
      decodeOid(this.#bytes, this.#contentStart, this.#contentEnd) ??
      this.fail(`${what} is not a DER object identifier`)
    );
  }

  /** BOOLEAN; DER knows only 00 and FF. */
  boolean(what: string): boolean {
    this.#expect(BOOLEAN, what);
    const value = this.#bytes[this.#contentStart];
    const isOne = this.#contentEnd - this.#contentStart === 1;
    if (!isOne || (value !== 0 && value !== 0xff)) this.fail(`${what} is not a DER boolean`);
    return value === 0xff;
  }

  /** INTEGER: its two's complement octets, checked to be the shortest form. */
  integer(what: string): Uint8Array {
    const content = this.content(INTEGER, what);
    const first = content[0];
    if (first === undefined) return this.fail(`${what} is an empty integer`);
    const second = content[1];
    if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
      this.fail(`${what} is not a minimal integer`);
    }
    return content;
  }

  /** INTEGER between 0 and 2^31−1. */
  smallInteger(what: string): number {
    const content = this.integer(what);
    if (content.length > 4 || (content[0] as number) >= 0x80) {
      this.fail(`${what} must be between 0 and 2147483647`);
    }
    let value = 0;
    for (const octet of content) value = value * 256 + octet;
    return value;
  }

  /** BIT STRING of whole octets. */
  bitString(what: string): Uint8Array {
    const content = this.content(BIT_STRING, what);
    if (content[0] !== 0) this.fail(`${what} must be a bit string of whole octets`);
    return content.subarray(1);
  }

  /**
   * BIT STRING of named bits as a number: bit n of the standard is `1 << n`. At most 16 bits. DER forbids trailing
   * zero bits (X.690 §11.2.2).
   */
  namedBits(what: string): number {
    const content = this.content(BIT_STRING, what);
    const unused = content[0];
    if (unused === undefined || unused > 7 || content.length > 3)
      return this.fail(`${what} is not a DER bit string`);
    if (content.length === 1) return unused === 0 ? 0 : this.fail(`${what} is not a DER bit string`);
    const last = content[content.length - 1] as number;
    if ((last & ((1 << unused) - 1)) !== 0 || (last & (1 << unused)) === 0) {
      this.fail(`${what} has trailing zero bits`);
    }
    let bits = 0;
    for (let index = 1; index < content.length; index++) {
      for (let bit = 0; bit < 8; bit++) {
        if (((content[index] as number) & (0x80 >> bit)) !== 0) bits |= 1 << ((index - 1) * 8 + bit);
      }
    }
    return bits;
  }

  /** UTCTime or GeneralizedTime in the form of RFC 5280 §4.1.2.5, in Unix seconds. */
  time(what: string): number {
    const tag = this.peek();
    if (tag !== UTC_TIME && tag !== GENERALIZED_TIME) return this.fail(`${what} must be a time`);
    const content = this.content(tag, what);
    return (
      readTime(content, tag === GENERALIZED_TIME) ?? this.fail(`${what} is not a time as RFC 5280 writes it`)
    );
  }

  /** Goes over one element and all that it holds, without an object for each level. */
  #walk(what: string, depth: number): void {
    if ((this.#header(what) & CONSTRUCTED) === 0) return;
    this.#requireDepth(what, depth);
    const outer = this.#end;
    const end = this.#contentEnd;
    this.#end = end;
    this.#position = this.#contentStart;
    while (this.#position < end) this.#walk(what, depth + 1);
    this.#end = outer;
  }

  #requireDepth(what: string, depth: number): void {
    if (depth >= MAX_DEPTH) this.fail(`${what} is nested too deeply`);
  }

  #child(what: string): DerReader {
    this.#requireDepth(what, this.#depth);
    return new DerReader(this.#bytes, this.#contentStart, this.#contentEnd, this.#code, this.#depth + 1);
  }

  #expect(tag: number, what: string): void {
    const found = this.#position < this.#end ? this.#bytes[this.#position] : undefined;
    if (found === undefined) this.fail(`${what} is missing`);
    if (found !== tag) this.fail(`${what} has tag ${hex(found)}, expected ${hex(tag)}`);
    this.#header(what);
  }

  #header(what: string): number {
    const bytes = this.#bytes;
    let position = this.#position;
    if (position + 2 > this.#end) this.fail(`${what} is cut short`);
    const tag = bytes[position++] as number;
    if ((tag & 0x1f) === 0x1f) this.fail(`${what} has a tag number above 30`);
    let length = bytes[position++] as number;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      if (octets === 0) this.fail(`${what} has an indefinite length`);
      if (octets > 3) this.fail(`${what} has a length that cannot be right`);
      if (position + octets > this.#end) this.fail(`${what} is cut short`);
      length = 0;
      for (let index = 0; index < octets; index++) length = length * 256 + (bytes[position++] as number);
      if (length < 0x80 || length < 2 ** (8 * (octets - 1)))
        this.fail(`${what} has a length that is not minimal`);
    }
    if (length > this.#end - position) this.fail(`${what} is cut short`);
    this.#contentStart = position;
    this.#contentEnd = position + length;
    this.#position = this.#contentEnd;
    return tag;
  }
}

/** Identifier octets of the universal types in use here. */
export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const NULL = 0x05;
export const OID = 0x06;
export const SEQUENCE = 0x30;
export const SET = 0x31;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;

/** Identifier octet of a primitive context-specific tag `[n]`. */
export function contextPrimitive(number: number): number {
  return 0x80 | number;
}

/** Identifier octet of a constructed context-specific tag `[n]`. */
export function contextConstructed(number: number): number {
  return 0xa0 | number;
}

function hex(octet: number): string {
  return `0x${octet.toString(16).padStart(2, "0")}`;
}

const CONSTRUCTED = 0x20;
const MAX_DEPTH = 16;
