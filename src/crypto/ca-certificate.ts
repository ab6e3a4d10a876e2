import { AssayError } from "../errors/assay-error.ts";
import { KEY_USAGE } from "./certificate-extensions.ts";
import { readTbsCertificate, type TbsCertificate } from "./certificate-reader.ts";
import { OIDS } from "./der/oid.ts";
import {
  type Der,
  encode,
  explicit,
  octetsOf,
  octetString,
  oid,
  primitive,
  sequence,
  time,
  tinyInteger,
  trueValue,
  unsignedInteger,
} from "./der/writer.ts";
import { subjectKeyIdentifier } from "./keys.ts";
import { NAME_CONSTRAINTS, writeUriConstraint } from "./name-constraints.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { signatureAlgorithmIdentifier } from "./signed-der.ts";
import { type DistinguishedName, writeName } from "./x501-name.ts";
import type { LintFinding } from "./lint.ts";

/** What the certificate of a CA below another one says. */
export interface SubordinateCaFields {
  /** Trust domain name without scheme; its SPIFFE ID is the only name (X509-SVID §3.2). */
  readonly trustDomain: string;
  /** The CA's public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Never empty. */
  readonly subject: DistinguishedName;
  /** Serial number, big-endian and positive. */
  readonly serial: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** How many CAs may follow below it (RFC 5280 §4.2.1.9); any number where absent. */
  readonly pathLength?: number;
  /** Whether it may sign for the trust domain only, by URI name constraints (X509-SVID §4.2). */
  readonly nameConstraints?: boolean;
}

/** The CA that signs it. */
export interface IssuingCa {
  /** Its subject, DER Name. */
  readonly subject: Uint8Array;
  readonly subjectKeyId: Uint8Array;
  readonly signatureAlgorithm: SigningAlgorithm;
  /** Its end, Unix seconds. */
  readonly notAfter: number;
}

/** The TBSCertificate of a CA below another one (X509-SVID §3.2 to §4.4, contents as SPIRE's), ready to be signed. */
export function writeSubordinateCaTbs(fields: SubordinateCaFields, issuer: IssuingCa): Uint8Array {
  const { pathLength } = fields;
  const basicConstraints = sequence(
    trueValue(),
    ...(pathLength === undefined ? [] : [unsignedInteger(fourOctets(pathLength))]),
  );
  return encode(
    sequence(
      explicit(0, tinyInteger(2)),
      unsignedInteger(fields.serial),
      signatureAlgorithmIdentifier(issuer.signatureAlgorithm),
      issuer.subject,
      sequence(time(fields.notBefore), time(fields.notAfter)),
      writeName(fields.subject),
      fields.spki,
      explicit(
        3,
        sequence(
          // keyCertSign and cRLSign: bits 5 and 6, one unused.
          extension(OIDS.keyUsage, true, primitive(0x03, Uint8Array.of(1, 0x06))),
          extension(OIDS.basicConstraints, true, basicConstraints),
          extension(OIDS.subjectKeyIdentifier, false, octetString(subjectKeyIdentifier(fields.spki))),
          extension(
            OIDS.authorityKeyIdentifier,
            false,
            sequence(primitive(0x80, Uint8Array.from(issuer.subjectKeyId))),
          ),
          extension(OIDS.subjectAltName, false, sequence(primitive(0x86, `spiffe://${fields.trustDomain}`))),
          ...(fields.nameConstraints === true
            ? [extension(NAME_CONSTRAINTS, true, writeUriConstraint(fields.trustDomain))]
            : []),
        ),
      ),
    ),
  );
}

/**
 * Reads a TBSCertificate of {@link writeSubordinateCaTbs} back and compares it with X509-SVID §3.2 to §4.4, RFC 5280 and what
 * was ordered. An empty list means that it may be signed. Never throws for what the bytes say.
 */
export function lintSubordinateCaTbs(
  tbs: Uint8Array,
  expected: SubordinateCaFields,
  issuer: IssuingCa,
): readonly LintFinding[] {
  let ca: TbsCertificate;
  try {
    ca = readTbsCertificate(tbs, "CERTIFICATE_LINT_FAILED");
  } catch (error) {
    if (error instanceof AssayError) return [{ rule: "RFC5280-4.1", detail: error.detail }];
    throw error;
  }
  const { uris = [], dnsNames = [], others = 0 } = ca.subjectAltName ?? {};
  const critical = (type: string) => ca.extensions.some((one) => one.oid === type && one.critical);
  const rules: readonly (readonly [boolean, string, string])[] = [
    [uris.length === 1 && dnsNames.length + others === 0, "XS-01", "subjectAltName must be one URI alone"],
    [
      uris[0] === `spiffe://${expected.trustDomain}`,
      "XS-08",
      "URI must be the trust domain's SPIFFE ID without a path",
    ],
    [ca.basicConstraints?.ca === true, "XS-13", "cA must be true"],
    [
      ca.basicConstraints?.pathLength === expected.pathLength,
      "RFC5280-4.2.1.9",
      "pathLenConstraint must be the one decided on",
    ],
    [critical(OIDS.basicConstraints), "RFC5280-4.2.1.9", "basicConstraints must be critical"],
    [critical(OIDS.keyUsage), "XS-18", "keyUsage must be critical"],
    [ca.keyUsage === CA_USAGE, "XS-43", "keyUsage must be keyCertSign and cRLSign"],
    [ca.extKeyUsage === undefined, "XS-28", "extKeyUsage must be absent"],
    [
      ca.extensions.some(({ oid: type }) => type === NAME_CONSTRAINTS) ===
        (expected.nameConstraints === true),
      "XS-15",
      "name constraints must be there where they were decided on, and nowhere else",
    ],
    [
      ca.extensions.every(({ oid: type }) => CA_EXTENSIONS.has(type)),
      "RFC5280-4.2",
      "extensions must be known",
    ],
    [equal(ca.spki, expected.spki), "RFC5280-4.1.2.7", "public key must be the one verified"],
    [ca.subject.length > 2, "RFC5280-4.1.2.6", "subject must not be empty"],
    [equal(ca.issuer, issuer.subject), "RFC5280-4.1.2.4", "issuer must be the authority's subject"],
    [!equal(ca.issuer, ca.subject), "RFC5280-4.1.2.6", "subject must not be the authority's"],
    [ca.notBefore < ca.notAfter, "RFC5280-4.1.2.5", "notBefore must lie before notAfter"],
    [ca.notAfter <= issuer.notAfter, "RFC5280-6.1", "notAfter must not exceed the authority's"],
    [ca.notAfter <= expected.notAfter, "RFC5280-4.1.2.5", "notAfter must not exceed the end decided on"],
    [
      ca.authorityKeyId !== undefined && equal(ca.authorityKeyId, issuer.subjectKeyId),
      "RFC5280-4.2.1.1",
      "authorityKeyIdentifier must be the authority's key identifier",
    ],
    [
      ca.subjectKeyId !== undefined && equal(ca.subjectKeyId, subjectKeyIdentifier(expected.spki)),
      "RFC5280-4.2.1.2",
      "subjectKeyIdentifier must be that of the public key",
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, rule, detail]) => ({ rule, detail }));
}

/** Big-endian, of a number from 0 to 2^32−1. */
function fourOctets(value: number): Uint8Array {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets;
}

function extension(type: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(type), trueValue(), octetsOf(value)) : sequence(oid(type), octetsOf(value));
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

const CA_USAGE = KEY_USAGE.keyCertSign | KEY_USAGE.crlSign;
const CA_EXTENSIONS: ReadonlySet<string> = new Set([
  OIDS.keyUsage,
  OIDS.basicConstraints,
  OIDS.subjectKeyIdentifier,
  OIDS.authorityKeyIdentifier,
  OIDS.subjectAltName,
  NAME_CONSTRAINTS,
]);
