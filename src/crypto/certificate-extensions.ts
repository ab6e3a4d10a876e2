import type { ErrorCode } from "../errors/codes.ts";
import { OIDS } from "./der/oid.ts";
import { BOOLEAN, contextPrimitive, type DerReader, OCTET_STRING, openDer, SEQUENCE } from "./der/reader.ts";
import { readSubjectAltName, type SubjectAltName } from "./subject-alt-name.ts";

/** One extension of a certificate (RFC 5280 §4.2), not interpreted. */
export interface Extension {
  /** Dotted object identifier. */
  readonly oid: string;
  readonly critical: boolean;
  /** Content of the extnValue OCTET STRING. */
  readonly value: Uint8Array;
}

/** The extensions that Assay understands; each is there only if the certificate has it. */
export interface ParsedExtensions {
  readonly basicConstraints?: BasicConstraints;
  /** keyUsage bits: bit n of RFC 5280 §4.2.1.3 is `1 << n`. See {@link KEY_USAGE}. */
  readonly keyUsage?: number;
  /** extKeyUsage purposes, dotted. */
  readonly extKeyUsage?: readonly string[];
  readonly subjectAltName?: SubjectAltName;
  readonly subjectKeyId?: Uint8Array;
  /** keyIdentifier of authorityKeyIdentifier, where it has one. */
  readonly authorityKeyId?: Uint8Array;
}

/** RFC 5280 §4.2.1.9. */
export interface BasicConstraints {
  readonly ca: boolean;
  /** How many intermediate certificates may follow; absent means any number. */
  readonly pathLength?: number;
}

/** Bits of keyUsage (RFC 5280 §4.2.1.3). */
export const KEY_USAGE = {
  digitalSignature: 1 << 0,
  keyEncipherment: 1 << 2,
  keyAgreement: 1 << 4,
  keyCertSign: 1 << 5,
  crlSign: 1 << 6,
} as const;

/** Reads the extensions in `list`: at least one, at most 64, none twice; explicit FALSE is refused as DER demands. */
export function readExtensions(
  list: DerReader,
  code: ErrorCode,
): { readonly extensions: readonly Extension[]; readonly parsed: ParsedExtensions } {
  const extensions: Extension[] = [];
  const parsed: Mutable<ParsedExtensions> = {};
  if (!list.more()) list.fail("extensions must not be an empty list");
  while (list.more()) {
    const extension = readExtension(list);
    if (extensions.some((other) => other.oid === extension.oid))
      list.fail(`extension ${extension.oid} appears twice`);
    if (extensions.push(extension) > MAX_EXTENSIONS) {
      list.fail(`certificate has more than ${MAX_EXTENSIONS} extensions`);
    }
    interpret(extension, parsed, code);
  }
  return { extensions, parsed };
}

function readExtension(list: DerReader): Extension {
  const fields = list.enter(SEQUENCE, "extension");
  const oid = fields.oid("extension");
  const critical = fields.is(BOOLEAN) && (fields.boolean("critical") || fields.fail(EXPLICIT_FALSE));
  const value = fields.content(OCTET_STRING, "extension value");
  fields.done("extension");
  return { oid, critical, value };
}

function interpret({ oid, value }: Extension, parsed: Mutable<ParsedExtensions>, code: ErrorCode): void {
  switch (oid) {
    case OIDS.basicConstraints:
      parsed.basicConstraints = whole(value, code, "basicConstraints", readBasicConstraints);
      return;
    case OIDS.keyUsage:
      parsed.keyUsage = whole(value, code, "keyUsage", (reader) => reader.namedBits("keyUsage"));
      return;
    case OIDS.extKeyUsage:
      parsed.extKeyUsage = whole(value, code, "extKeyUsage", readPurposes);
      return;
    case OIDS.subjectAltName:
      parsed.subjectAltName = whole(value, code, "subjectAltName", readSubjectAltName);
      return;
    case OIDS.subjectKeyIdentifier:
      parsed.subjectKeyId = whole(value, code, "subjectKeyIdentifier", (reader) =>
        reader.content(OCTET_STRING, "subjectKeyIdentifier"),
      );
      return;
    case OIDS.authorityKeyIdentifier: {
      const keyId = whole(value, code, "authorityKeyIdentifier", readAuthorityKeyId);
      if (keyId !== undefined) parsed.authorityKeyId = keyId;
      return;
    }
    default:
  }
}

function whole<T>(value: Uint8Array, code: ErrorCode, what: string, read: (reader: DerReader) => T): T {
  const reader = openDer(value, code, MAX_VALUE_BYTES, what);
  const result = read(reader);
  reader.done(what);
  return result;
}

function readBasicConstraints(reader: DerReader): BasicConstraints {
  const fields = reader.enter(SEQUENCE, "basicConstraints");
  const ca = fields.is(BOOLEAN) && (fields.boolean("cA") || fields.fail(EXPLICIT_FALSE));
  if (!fields.more()) return { ca };
  const pathLength = fields.smallInteger("pathLenConstraint");
  fields.done("basicConstraints");
  if (!ca) fields.fail("pathLenConstraint needs cA");
  return { ca, pathLength };
}

function readPurposes(reader: DerReader): readonly string[] {
  const list = reader.enter(SEQUENCE, "extKeyUsage");
  const purposes: string[] = [];
  if (!list.more()) list.fail("extKeyUsage is empty");
  while (list.more()) {
    if (purposes.push(list.oid("extKeyUsage")) > MAX_PURPOSES) {
      list.fail(`extKeyUsage has more than ${MAX_PURPOSES} purposes`);
    }
  }
  return purposes;
}

function readAuthorityKeyId(reader: DerReader): Uint8Array | undefined {
  const fields = reader.enter(SEQUENCE, "authorityKeyIdentifier");
  const keyId = fields.is(contextPrimitive(0))
    ? fields.content(contextPrimitive(0), "keyIdentifier")
    : undefined;
  // authorityCertIssuer and authorityCertSerialNumber say nothing that path building needs.
  while (fields.more()) fields.anyElement("authorityKeyIdentifier");
  return keyId;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const EXPLICIT_FALSE = "a boolean that is false must be left out";
const MAX_EXTENSIONS = 64;
const MAX_PURPOSES = 64;
const MAX_VALUE_BYTES = 65_536;
