import type { ErrorCode } from "../errors/codes.ts";
import { contextConstructed, contextPrimitive, type DerReader, openDer, SEQUENCE } from "./der/reader.ts";
import { type Extension, type ParsedExtensions, readExtensions } from "./certificate-extensions.ts";
import { readAnySignatureAlgorithm, type SignatureAlgorithm } from "./signature-algorithm.ts";

/**
 * What a TBSCertificate says (RFC 5280 §4.1), read strictly and independently of the writer. Byte arrays are views
 * of the bytes it was read from.
 */
export interface TbsCertificate extends ParsedExtensions {
  /** The signed bytes themselves. */
  readonly tbs: Uint8Array;
  /** 3 is the only version read. */
  readonly version: 3;
  /** Serial number: positive, big-endian, without sign octet. */
  readonly serial: Uint8Array;
  /** One that is `unsupported` verifies with no key, so only a trust anchor can be of use with it. */
  readonly signatureAlgorithm: SignatureAlgorithm;
  /** DER Name. */
  readonly issuer: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** DER Name; an empty one is the two octets `30 00`. */
  readonly subject: Uint8Array;
  /** SubjectPublicKeyInfo in DER; its inside is not looked at here. */
  readonly spki: Uint8Array;
  /** Every extension in its order. */
  readonly extensions: readonly Extension[];
}

/** A whole certificate. */
export interface Certificate extends TbsCertificate {
  /** The certificate in DER. */
  readonly der: Uint8Array;
  /** Signature octets; ECDSA as DER. */
  readonly signature: Uint8Array;
}

/**
 * Reads one certificate of at most 64 KiB, with nothing after it.
 * @throws AssayError `INVALID_CERTIFICATE`, or `code`, naming the field.
 */
export function readCertificate(der: Uint8Array, code: ErrorCode = "INVALID_CERTIFICATE"): Certificate {
  const outer = openDer(der, code, MAX_CERTIFICATE_BYTES, "certificate");
  const certificate = outer.enter(SEQUENCE, "certificate");
  outer.done("certificate");
  const tbs = certificate.element(SEQUENCE, "TBSCertificate");
  const algorithm = readAnySignatureAlgorithm(certificate, "signature algorithm");
  const signature = certificate.bitString("signature");
  certificate.done("certificate");
  const facts = readTbsCertificate(tbs, code);
  // RFC 5280 §4.1.1.2: only the inner one is signed, so a different outer one is somebody's doing.
  if (facts.signatureAlgorithm.oid !== algorithm.oid)
    certificate.fail("signature algorithm differs from the signed one");
  return { ...facts, der, signature };
}

/**
 * Reads a TBSCertificate alone, as it is before it is signed.
 * @throws AssayError `code` naming the field.
 */
export function readTbsCertificate(tbs: Uint8Array, code: ErrorCode): TbsCertificate {
  const outer = openDer(tbs, code, MAX_CERTIFICATE_BYTES, "TBSCertificate");
  const fields = outer.enter(SEQUENCE, "TBSCertificate");
  outer.done("TBSCertificate");
  if (!fields.is(contextConstructed(0))) fields.fail("version of the certificate must be 3");
  const version = fields.enter(contextConstructed(0), "version");
  if (version.smallInteger("version") !== 2) version.fail("version of the certificate must be 3");
  version.done("version");
  const serial = readSerial(fields);
  const signatureAlgorithm = readAnySignatureAlgorithm(fields, "signature algorithm");
  const issuer = fields.is(SEQUENCE) ? fields.anyElement("issuer") : fields.fail("issuer must be a name");
  const validity = fields.enter(SEQUENCE, "validity");
  const notBefore = validity.time("notBefore");
  const notAfter = validity.time("notAfter");
  validity.done("validity");
  const subject = fields.is(SEQUENCE) ? fields.anyElement("subject") : fields.fail("subject must be a name");
  const spki = fields.is(SEQUENCE)
    ? fields.anyElement("public key")
    : fields.fail("public key must be a sequence");
  if (fields.is(contextPrimitive(1))) fields.content(contextPrimitive(1), "issuerUniqueID");
  if (fields.is(contextPrimitive(2))) fields.content(contextPrimitive(2), "subjectUniqueID");
  const { extensions, parsed } = fields.more()
    ? readExtensions(explicitExtensions(fields), code)
    : { extensions: [], parsed: {} };
  fields.done("TBSCertificate");
  return {
    ...parsed,
    tbs,
    version: 3,
    serial,
    signatureAlgorithm,
    issuer,
    notBefore,
    notAfter,
    subject,
    spki,
    extensions,
  };
}

function explicitExtensions(fields: DerReader): DerReader {
  const wrapper = fields.enter(contextConstructed(3), "extensions");
  const extensions = wrapper.enter(SEQUENCE, "extensions");
  wrapper.done("extensions");
  return extensions;
}

function readSerial(fields: DerReader): Uint8Array {
  const content = fields.integer("serial number");
  const first = content[0] as number;
  // RFC 5280 §4.1.2.2: positive, and conforming CAs use at most 20 octets.
  if (first >= 0x80 || (first === 0 && content.length === 1)) fields.fail("serial number must be positive");
  if (content.length > 20) fields.fail("serial number must be at most 20 octets");
  return first === 0 ? content.subarray(1) : content;
}

const MAX_CERTIFICATE_BYTES = 65_536;
