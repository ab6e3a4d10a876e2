import type { ErrorCode } from "../errors/codes.ts";
import { OIDS } from "./der/oid.ts";
import { openDer, SEQUENCE, SET } from "./der/reader.ts";
import { type Der, encode, oid, primitive, sequence, set } from "./der/writer.ts";

/** One attribute of a distinguished name (RFC 5280 §4.1.2.4). */
export interface NameAttribute {
  /** Dotted object identifier of the attribute type, e.g. `2.5.4.3` for the common name. */
  readonly oid: string;
  /** The value as text. */
  readonly value: string;
}

/** A distinguished name, most significant attribute first. Multi-valued RDNs are flattened. */
export type DistinguishedName = readonly NameAttribute[];

/**
 * The attributes of a DER Name; at most 64. UniversalStrings and BIT STRINGs are left out;
 * what holds other characters than its type allows is refused, as it would be by who reads the request next.
 */
export function readName(name: Uint8Array, code: ErrorCode): DistinguishedName {
  const outer = openDer(name, code, MAX_NAME_BYTES, "name");
  const sets = outer.enter(SEQUENCE, "name");
  outer.done("name");
  const attributes: NameAttribute[] = [];
  while (sets.more()) {
    const members = sets.enter(SET, "relative distinguished name");
    if (!members.more()) members.fail("relative distinguished name is empty");
    while (members.more()) {
      if (attributes.length >= MAX_ATTRIBUTES)
        members.fail(`name has more than ${MAX_ATTRIBUTES} attributes`);
      const pair = members.enter(SEQUENCE, "name attribute");
      const type = pair.oid("name attribute type");
      const tag = pair.peek();
      if (UNREAD_TAGS.has(tag)) {
        pair.anyElement("name attribute value");
        pair.done("name attribute");
        continue;
      }
      if (!STRING_TAGS.has(tag)) return pair.fail(`name attribute ${type} is of no string type`);
      const value = decodeString(tag, pair.content(tag, "name attribute value"));
      if (value === undefined) return pair.fail(`name attribute ${type} is not valid text`);
      pair.done("name attribute");
      attributes.push({ oid: type, value });
    }
  }
  return attributes;
}

/** Writes a Name of single-valued RDNs: PrintableString where the value allows it, else UTF8String. */
export function writeName(name: DistinguishedName): Uint8Array {
  return encode(sequence(...name.map(writeAttribute)));
}

/** The first value of an attribute type, if there is one. */
export function nameAttribute(name: DistinguishedName, type: string): string | undefined {
  return name.find((attribute) => attribute.oid === type)?.value;
}

/** `C=US, O=<organization>`, the subject that SPIRE gives its SVIDs (`SPIRE`) and authorities (`SPIFFE`). */
export function spireName(organization: string): DistinguishedName {
  return [
    { oid: OIDS.country, value: "US" },
    { oid: OIDS.organization, value: organization },
  ];
}

function writeAttribute({ oid: type, value }: NameAttribute): Der {
  const text = PRINTABLE.test(value) ? primitive(0x13, value) : primitive(0x0c, Buffer.from(value, "utf8"));
  return set(sequence(oid(type), text));
}

function decodeString(tag: number, content: Uint8Array): string | undefined {
  const buffer = Buffer.from(content.buffer, content.byteOffset, content.length);
  try {
    if (tag === 0x0c) return UTF8.decode(content);
    if (tag === 0x1e) return content.length % 2 === 0 ? UTF16.decode(content) : undefined;
  } catch {
    return undefined;
  }
  if (tag === 0x14) return buffer.toString("latin1");
  const text = buffer.toString("latin1");
  return (ALPHABETS[tag] ?? ASCII).test(text) ? text : undefined;
}

const MAX_NAME_BYTES = 16_384;
const MAX_ATTRIBUTES = 64;
const STRING_TAGS: ReadonlySet<number> = new Set([0x0c, 0x12, 0x13, 0x14, 0x16, 0x1a, 0x1e]);
const UNREAD_TAGS: ReadonlySet<number> = new Set([0x03, 0x1c]);
// Without control characters: at some of them others would stop reading.
const ASCII = /^[\x20-\x7e]*$/;
// X.680 §41.4. Stars and ampersands do not belong to PrintableString and are in many a name all the same.
const ALPHABETS: Readonly<Record<number, RegExp>> = {
  0x12: /^[0-9 ]*$/,
  0x13: /^[A-Za-z0-9 '()+,\-./:=?*&]*$/,
};
const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]+$/;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const UTF16 = new TextDecoder("utf-16be", { fatal: true, ignoreBOM: true });
