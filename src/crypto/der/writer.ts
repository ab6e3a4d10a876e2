import { encodeOid } from "./oid.ts";

/** Something to be written: bytes that are DER already, or a node made by the functions below. */
export type Der = Uint8Array | DerNode;

/** One element: identifier octet and content. `lead` is one octet before the content, −1 for none. */
export interface DerNode {
  readonly tag: number;
  readonly lead: number;
  readonly length: number;
  readonly content: Uint8Array | string | readonly Der[];
}

/** Writes a tree of elements into one fresh buffer. */
export function encode(der: Der): Uint8Array {
  const size = sizeOf(der);
  const buffer = Buffer.allocUnsafe(size);
  write(der, buffer, 0);
  return buffer;
}

/** Several elements one after the other, as one piece of DER to be put somewhere. */
export function encodeAll(parts: readonly Der[]): Uint8Array {
  return Buffer.concat(parts.map(encode));
}

/** A constructed element with any identifier octet. */
export function constructed(tag: number, parts: readonly Der[]): DerNode {
  let length = 0;
  for (const part of parts) length += sizeOf(part);
  return { tag, lead: -1, length, content: parts };
}

/** A primitive element with any identifier octet. A string is written as Latin-1, so it must be ASCII. */
export function primitive(tag: number, content: Uint8Array | string): DerNode {
  return { tag, lead: -1, length: content.length, content };
}

/** SEQUENCE. */
export function sequence(...parts: readonly Der[]): DerNode {
  return constructed(0x30, parts);
}

/** SET of one element, or of elements already in DER order. */
export function set(...parts: readonly Der[]): DerNode {
  return constructed(0x31, parts);
}

/** Explicit context-specific tag `[n]`. */
export function explicit(number: number, ...parts: readonly Der[]): DerNode {
  return constructed(0xa0 | number, parts);
}

/** INTEGER that is not negative, from its big-endian magnitude; leading zeros are dropped, a sign octet is added. */
export function unsignedInteger(magnitude: Uint8Array): DerNode {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const content = start === 0 ? magnitude : magnitude.subarray(start);
  const lead = content.length === 0 || (content[0] as number) >= 0x80 ? 0 : -1;
  return { tag: 0x02, lead, length: content.length + (lead === -1 ? 0 : 1), content };
}

/** INTEGER from 0 to 127. */
export function tinyInteger(value: number): DerNode {
  return primitive(0x02, Uint8Array.of(value));
}

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): DerNode {
  return primitive(0x06, encodeOid(dotted));
}

/** BIT STRING of whole octets. */
export function bitString(octets: Uint8Array): DerNode {
  return { tag: 0x03, lead: 0, length: octets.length + 1, content: octets };
}

/** OCTET STRING around other DER, as extensions carry their values. */
export function octetsOf(...parts: readonly Der[]): DerNode {
  return constructed(0x04, parts);
}

/** OCTET STRING. */
export function octetString(octets: Uint8Array): DerNode {
  return primitive(0x04, octets);
}

/** NULL. */
export function nullValue(): DerNode {
  return primitive(0x05, "");
}

/** BOOLEAN TRUE; DER leaves FALSE out wherever X.509 has a boolean. */
export function trueValue(): DerNode {
  return primitive(0x01, Uint8Array.of(0xff));
}

/** UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). `seconds` since the Unix epoch, years 1950 to 9999. */
export function time(seconds: number): DerNode {
  const date = new Date(seconds * 1000);
  const year = date.getUTCFullYear();
  const rest =
    two(date.getUTCMonth() + 1) +
    two(date.getUTCDate()) +
    two(date.getUTCHours()) +
    two(date.getUTCMinutes()) +
    two(date.getUTCSeconds());
  if (!(year >= 1950 && year <= 9999)) throw new RangeError(`no certificate time for the second ${seconds}`);
  return year < 2050 ? primitive(0x17, `${two(year % 100)}${rest}Z`) : primitive(0x18, `${year}${rest}Z`);
}

function two(value: number): string {
  return value < 10 ? `0${value}` : `${value}`;
}

function sizeOf(der: Der): number {
  if (der instanceof Uint8Array) return der.length;
  return 1 + lengthOctets(der.length) + der.length;
}

function lengthOctets(length: number): number {
  if (length < 0x80) return 1;
  if (length < 0x100) return 2;
  return length < 0x10000 ? 3 : 4;
}

function write(der: Der, buffer: Buffer, start: number): number {
  let at = start;
  if (der instanceof Uint8Array) {
    buffer.set(der, at);
    return at + der.length;
  }
  buffer[at++] = der.tag;
  at = writeLength(der.length, buffer, at);
  if (der.lead !== -1) buffer[at++] = der.lead;
  const { content } = der;
  if (typeof content === "string") return at + buffer.write(content, at, "latin1");
  if (content instanceof Uint8Array) {
    buffer.set(content, at);
    return at + content.length;
  }
  for (const part of content) at = write(part, buffer, at);
  return at;
}

function writeLength(length: number, buffer: Buffer, start: number): number {
  let at = start;
  const octets = lengthOctets(length);
  if (octets > 1) buffer[at++] = 0x80 | (octets - 1);
  for (let shift = (octets > 1 ? octets - 2 : 0) * 8; shift >= 0; shift -= 8)
    buffer[at++] = (length >>> shift) & 0xff;
  return at;
}
