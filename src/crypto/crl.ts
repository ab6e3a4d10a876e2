import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { type Extension, KEY_USAGE, readExtensions } from "./certificate-extensions.ts";
import type { Certificate } from "./certificate-reader.ts";
import { isSignedBy } from "./certificate-signature.ts";
import { OIDS } from "./der/oid.ts";
import { contextConstructed, type DerReader, INTEGER, openDer, SEQUENCE } from "./der/reader.ts";
import { serialToHex } from "./random.ts";
import { readSignatureAlgorithm, type SignatureAlgorithm } from "./signature-algorithm.ts";

/** A certificate revocation list (RFC 5280 §5), read strictly. Byte arrays are views of the bytes it was read from. */
export interface CertificateRevocationList {
  /** The list in DER. */
  readonly der: Uint8Array;
  /** The signed bytes. */
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** DER Name of the authority that signed. */
  readonly issuer: Uint8Array;
  /** Key identifier of that authority's key. */
  readonly authorityKeyId: Uint8Array;
  /** Grows with every list of the authority (§5.2.3). */
  readonly number: bigint;
  /** Unix seconds. */
  readonly thisUpdate: number;
  /** Unix seconds; a newer list is out by then. */
  readonly nextUpdate: number;
  /** Serial numbers of revoked certificates, lower-case hex without leading zero octets. */
  readonly revoked: ReadonlySet<string>;
}

/**
 * Reads one complete CRL of at most 1 MiB: version 2 with nextUpdate, authorityKeyIdentifier and cRLNumber, as
 * RFC 5280 §5 asks of those who sign. Delta lists, lists of a part of the certificates and unknown critical
 * extensions are refused: taken for a whole list they would say that somebody is not revoked.
 * @throws AssayError `code` naming the field.
 */
export function readCrl(der: Uint8Array, code: ErrorCode): CertificateRevocationList {
  const outer = openDer(der, code, MAX_CRL_BYTES, "CRL");
  const list = outer.enter(SEQUENCE, "CRL");
  outer.done("CRL");
  const tbs = list.element(SEQUENCE, "TBSCertList");
  const outerAlgorithm = readSignatureAlgorithm(list, "signature algorithm of the CRL");
  const signature = list.bitString("signature of the CRL");
  list.done("CRL");

  const signed = readTbsCrl(tbs, code);
  if (signed.signatureAlgorithm.oid !== outerAlgorithm.oid) {
    list.fail("signature algorithm of the CRL differs from the signed one");
  }
  const { revoked: entries, ...fields } = signed;
  return { der, tbs, signature, ...fields, revoked: new Set(entries.keys()) };
}

/** What the signed part of a CRL says. */
export interface TbsCertList
  extends Omit<CertificateRevocationList, "der" | "tbs" | "signature" | "revoked"> {
  /** Revoked certificates by their serial number, lower-case hex without leading zero octets. */
  readonly revoked: ReadonlyMap<string, CrlEntry>;
}

/** One revoked certificate. */
export interface CrlEntry {
  /** When it was revoked, Unix seconds. */
  readonly revokedAt: number;
  /** Extensions of the entry, not interpreted. */
  readonly extensions: readonly Extension[];
}

/** Reads the signed part of a CRL by itself, by the rules of {@link readCrl}. @throws AssayError `code` naming the field. */
export function readTbsCrl(tbs: Uint8Array, code: ErrorCode): TbsCertList {
  const outer = openDer(tbs, code, MAX_CRL_BYTES, "TBSCertList");
  const fields = outer.enter(SEQUENCE, "TBSCertList");
  outer.done("TBSCertList");
  if (!fields.is(INTEGER) || fields.smallInteger("version") !== 1)
    fields.fail("version of the CRL must be 2");
  const signatureAlgorithm = readSignatureAlgorithm(fields, "signature algorithm of the CRL");
  const issuer = fields.is(SEQUENCE) ? fields.anyElement("issuer") : fields.fail("issuer must be a name");
  const thisUpdate = fields.time("thisUpdate");
  const nextUpdate = fields.time("nextUpdate");
  const revoked = fields.is(SEQUENCE) ? readRevoked(fields, code) : new Map<string, CrlEntry>();
  const { number, authorityKeyId } = readListExtensions(fields, code);
  fields.done("TBSCertList");
  return { signatureAlgorithm, issuer, authorityKeyId, number, thisUpdate, nextUpdate, revoked };
}

/** Whether this authority may sign CRLs and has signed this one (RFC 5280 §6.3.3 f, g). */
export function isCrlOf(crl: CertificateRevocationList, authority: Certificate): boolean {
  return (
    Buffer.compare(crl.issuer, authority.subject) === 0 &&
    // Not every authority says which key it has; its signature tells all the same.
    (authority.subjectKeyId === undefined ||
      Buffer.compare(crl.authorityKeyId, authority.subjectKeyId) === 0) &&
    (authority.keyUsage === undefined || (authority.keyUsage & KEY_USAGE.crlSign) !== 0) &&
    isSignedBy(crl, authority)
  );
}

/**
 * Looks each certificate of a path (leaf first, root last) but the root up in the lists of the one above it (RFC 5280
 * §6.3).
 * @throws AssayError `INVALID_CERTIFICATE` where one has been revoked.
 */
export function requireUnrevoked(
  path: readonly Certificate[],
  crls: readonly CertificateRevocationList[],
): void {
  for (const [at, certificate] of path.entries()) {
    const issuer = path[at + 1];
    if (issuer === undefined) return;
    const serial = serialToHex(certificate.serial);
    if (crls.some((crl) => crl.revoked.has(serial) && isCrlOf(crl, issuer))) {
      throw new AssayError("INVALID_CERTIFICATE", `certificate ${serial} has been revoked`);
    }
  }
}

function readRevoked(fields: DerReader, code: ErrorCode): ReadonlyMap<string, CrlEntry> {
  const entries = fields.enter(SEQUENCE, "revokedCertificates");
  // RFC 5280 §5.1.2.6: the list is left out where nothing is revoked.
  if (!entries.more()) entries.fail("revokedCertificates must not be empty");
  const revoked = new Map<string, CrlEntry>();
  while (entries.more()) {
    const entry = entries.enter(SEQUENCE, "revoked certificate");
    const serial = entry.integer("serial number of a revoked certificate");
    if ((serial[0] as number) >= 0x80) entry.fail("serial number of a revoked certificate must be positive");
    const revokedAt = entry.time("revocationDate");
    const extensions = entry.more()
      ? readExtensions(entry.enter(SEQUENCE, "crlEntryExtensions"), code).extensions
      : NO_EXTENSIONS;
    requireUnderstood(extensions, code);
    entry.done("revoked certificate");
    revoked.set(serialToHex(serial), { revokedAt, extensions });
  }
  return revoked;
}

function readListExtensions(fields: DerReader, code: ErrorCode) {
  const wrapper = fields.enter(contextConstructed(0), "crlExtensions");
  const { extensions, parsed } = readExtensions(wrapper.enter(SEQUENCE, "crlExtensions"), code);
  wrapper.done("crlExtensions");
  requireUnderstood(extensions, code);
  const { authorityKeyId } = parsed;
  if (authorityKeyId === undefined) return fields.fail("CRL has no authorityKeyIdentifier");
  const written = extensions.find(({ oid }) => oid === OIDS.crlNumber)?.value;
  if (written === undefined) return fields.fail("CRL has no cRLNumber");
  const reader = openDer(written, code, MAX_NUMBER_BYTES, "cRLNumber");
  const octets = reader.integer("cRLNumber");
  reader.done("cRLNumber");
  if ((octets[0] as number) >= 0x80) reader.fail("cRLNumber must not be negative");
  return { authorityKeyId, number: BigInt(`0x${Buffer.from(octets).toString("hex")}`) };
}

function requireUnderstood(extensions: readonly Extension[], code: ErrorCode): void {
  const unknown = extensions.find(({ critical, oid }) => critical && oid !== OIDS.authorityKeyIdentifier);
  if (unknown !== undefined) {
    throw new AssayError(code, `CRL has the critical extension ${unknown.oid}, which is not supported`);
  }
}

const NO_EXTENSIONS: readonly Extension[] = [];
const MAX_CRL_BYTES = 1024 * 1024;
const MAX_NUMBER_BYTES = 64;
