import { AssayError } from "../errors/assay-error.ts";
import { type CrlEntry, readTbsCrl, type TbsCertList } from "./crl.ts";
import { OIDS } from "./der/oid.ts";
import {
  type DerNode,
  encode,
  explicit,
  octetsOf,
  oid,
  primitive,
  sequence,
  time,
  tinyInteger,
  unsignedInteger,
} from "./der/writer.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { signatureAlgorithmIdentifier } from "./signed-der.ts";
import type { LintFinding } from "./lint.ts";

/** Why a certificate was revoked (RFC 5280 §5.3.1), but for what can be taken back. */
export type CrlReason =
  | "unspecified"
  | "keyCompromise"
  | "affiliationChanged"
  | "superseded"
  | "cessationOfOperation"
  | "privilegeWithdrawn";

/** A certificate of an authority that is revoked. */
export interface RevokedCertificate {
  /** Serial number in lower-case hex without leading zero octets. */
  readonly serial: string;
  /** Unix seconds. */
  readonly revokedAt: number;
  /** Left out of the list where it is unspecified, as RFC 5280 §5.3.1 asks. */
  readonly reason?: CrlReason;
}

/** What a CRL is made from. */
export interface CrlFields {
  /** Subject of the authority, DER Name. */
  readonly issuer: Uint8Array;
  /** The authority's subject key identifier. */
  readonly authorityKeyId: Uint8Array;
  readonly signatureAlgorithm: SigningAlgorithm;
  /** Larger than that of every list before (RFC 5280 §5.2.3); at most 20 octets. */
  readonly number: bigint;
  /** Unix seconds. */
  readonly thisUpdate: number;
  /** Unix seconds. */
  readonly nextUpdate: number;
  /** Each certificate once. */
  readonly revoked: readonly RevokedCertificate[];
}

/**
 * The TBSCertList of a complete CRL (RFC 5280 §5.1): version 2, the authority's key identifier and the number as its only
 * extensions, reasons where there are any. Signed and put together by `assembleSigned`.
 * @throws AssayError `CERTIFICATE_LINT_FAILED` for a serial number that is not hex and a date that cannot be written.
 */
export function writeTbsCrl(fields: CrlFields): Uint8Array {
  const keyId = octetsOf(sequence(primitive(0x80, fields.authorityKeyId)));
  const number = octetsOf(unsignedInteger(magnitude(fields.number)));
  return encode(
    sequence(
      tinyInteger(1),
      signatureAlgorithmIdentifier(fields.signatureAlgorithm),
      fields.issuer,
      date(fields.thisUpdate),
      date(fields.nextUpdate),
      // RFC 5280 §5.1.2.6: the list is left out where nothing is revoked.
      ...(fields.revoked.length === 0 ? [] : [sequence(...fields.revoked.map(writeEntry))]),
      explicit(
        0,
        sequence(sequence(oid(OIDS.authorityKeyIdentifier), keyId), sequence(oid(OIDS.crlNumber), number)),
      ),
    ),
  );
}

/**
 * Reads a TBSCertList that is about to be signed with the reader that is used for everybody's lists, and compares it with
 * what was ordered. Nothing is signed that has a finding.
 */
export function lintTbsCrl(tbs: Uint8Array, ordered: CrlFields): readonly LintFinding[] {
  let read: TbsCertList;
  try {
    read = readTbsCrl(tbs, "CERTIFICATE_LINT_FAILED");
  } catch (error) {
    if (error instanceof AssayError) return [{ rule: "RFC5280-5.1", detail: error.detail }];
    throw error;
  }
  const { revoked, thisUpdate, nextUpdate } = ordered;
  const rules: readonly (readonly [boolean, string, string])[] = [
    [same(read.issuer, ordered.issuer), "RFC5280-5.1.2.3", "issuer must be the authority's subject"],
    [read.thisUpdate === thisUpdate, "RFC5280-5.1.2.4", "thisUpdate must be as ordered"],
    [
      read.nextUpdate === nextUpdate && thisUpdate < nextUpdate,
      "RFC5280-5.1.2.5",
      "nextUpdate must be as ordered, after thisUpdate",
    ],
    [
      same(read.authorityKeyId, ordered.authorityKeyId) && ordered.authorityKeyId.length > 0,
      "RFC5280-5.2.1",
      "authorityKeyIdentifier must be the authority's",
    ],
    [
      read.number === ordered.number && magnitude(ordered.number).length <= MAX_NUMBER_OCTETS,
      "RFC5280-5.2.3",
      `cRLNumber must be as ordered, at most ${MAX_NUMBER_OCTETS} octets`,
    ],
    [read.revoked.size === revoked.length, "RFC5280-5.1.2.6", "each certificate must be in the list once"],
    [
      revoked.every((one) => isEntryOf(read.revoked.get(one.serial), one)),
      "RFC5280-5.3",
      "revoked certificates must be as ordered",
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, rule, detail]) => ({ rule, detail }));
}

function writeEntry({ serial, revokedAt, reason = "unspecified" }: RevokedCertificate): DerNode {
  if (!HEX.test(serial)) throw refused("serial number must be octets in lower-case hex");
  const code = REASON_CODES[reason];
  const number = unsignedInteger(Buffer.from(serial, "hex"));
  if (code === 0) return sequence(number, date(revokedAt));
  const extension = sequence(oid(OIDS.reasonCode), octetsOf(primitive(ENUMERATED, Uint8Array.of(code))));
  return sequence(number, date(revokedAt), sequence(extension));
}

function isEntryOf(entry: CrlEntry | undefined, ordered: RevokedCertificate): boolean {
  if (entry?.revokedAt !== ordered.revokedAt) return false;
  const code = REASON_CODES[ordered.reason ?? "unspecified"];
  const [extension, ...more] = entry.extensions;
  if (code === 0) return extension === undefined;
  const expected = Uint8Array.of(ENUMERATED, 1, code);
  return (
    more.length === 0 &&
    extension?.oid === OIDS.reasonCode &&
    !extension.critical &&
    same(extension.value, expected)
  );
}

function date(seconds: number): DerNode {
  try {
    return time(seconds);
  } catch {
    throw refused("a date is not between the years 1950 and 9999");
  }
}

function magnitude(number: bigint): Uint8Array {
  if (number < 0n) throw refused("cRLNumber must not be negative");
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `CRL: ${detail}`);
}

const HEX = /^(?:[0-9a-f]{2}){1,20}$/;
const ENUMERATED = 0x0a;
const MAX_NUMBER_OCTETS = 20;
const REASON_CODES: Readonly<Record<CrlReason, number>> = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
};
