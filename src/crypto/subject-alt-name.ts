import { contextPrimitive, type DerReader, SEQUENCE } from "./der/reader.ts";

/** The names of a SubjectAltName extension (RFC 5280 §4.2.1.6). */
export interface SubjectAltName {
  /** uniformResourceIdentifier values. */
  readonly uris: readonly string[];
  /** dNSName values. */
  readonly dnsNames: readonly string[];
  /** How many names of other kinds there are. */
  readonly others: number;
}

/**
 * Reads GeneralNames: at least one, at most 1024. IA5String values must be ASCII without control characters, so
 * that no name ends early in somebody's C string. An iPAddress is one address and no range (RFC 5280 §4.2.1.6).
 */
export function readSubjectAltName(reader: DerReader): SubjectAltName {
  const names = reader.enter(SEQUENCE, "subjectAltName");
  const uris: string[] = [];
  const dnsNames: string[] = [];
  let others = 0;
  if (!names.more()) names.fail("subjectAltName is empty");
  while (names.more()) {
    const tag = names.peek();
    if (tag === URI) uris.push(readIa5(names, tag, "URI of subjectAltName"));
    else if (tag === DNS) dnsNames.push(readIa5(names, tag, "DNS name of subjectAltName"));
    else if (tag === IP_ADDRESS) {
      const { length } = names.content(tag, "IP address of subjectAltName");
      if (length !== 4 && length !== 16) names.fail("IP address of subjectAltName must have 4 or 16 octets");
      others++;
    } else if (OTHER_TAGS.has(tag)) {
      names.anyElement("name of subjectAltName");
      others++;
    } else names.fail("subjectAltName holds a name of unknown kind");
    if (uris.length + dnsNames.length + others > MAX_NAMES) {
      names.fail(`subjectAltName has more than ${MAX_NAMES} names`);
    }
  }
  return { uris, dnsNames, others };
}

function readIa5(reader: DerReader, tag: number, what: string): string {
  const content = reader.content(tag, what);
  for (const octet of content) {
    if (octet < 0x20 || octet > 0x7e) reader.fail(`${what} has a character that is not printable ASCII`);
  }
  return Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
}

const MAX_NAMES = 1024;
const DNS = contextPrimitive(2);
const URI = contextPrimitive(6);
const IP_ADDRESS = contextPrimitive(7);
// otherName, rfc822Name, x400Address, directoryName, ediPartyName, registeredID.
const OTHER_TAGS: ReadonlySet<number> = new Set([0xa0, 0x81, 0xa3, 0xa4, 0xa5, 0x88]);
