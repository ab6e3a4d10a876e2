import "reflect-metadata/lite";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
} from "@peculiar/x509";

/** What a certificate says, read by a library that has no part in writing it. */
export interface CertificateView {
  readonly der: Buffer;
  readonly uris: readonly string[];
  readonly sanCritical: boolean | undefined;
  readonly hasSubject: boolean;
  /** Undefined where basicConstraints is missing. */
  readonly ca: boolean | undefined;
  readonly pathLength: number | undefined;
  /** Names of bits; undefined where keyUsage is missing. */
  readonly keyUsage: readonly string[] | undefined;
  readonly keyUsageCritical: boolean | undefined;
  /** Dotted; undefined where extKeyUsage is missing. */
  readonly purposes: readonly string[] | undefined;
  readonly hasNameConstraints: boolean;
  readonly subject: string;
  readonly issuer: string;
}

/** Reads one certificate. */
export function viewCertificate(der: Uint8Array): CertificateView {
  const certificate = new X509Certificate(Buffer.from(der));
  const names = certificate.getExtension(SubjectAlternativeNameExtension);
  const basic = certificate.getExtension(BasicConstraintsExtension);
  const usage = certificate.getExtension(KeyUsagesExtension);
  const extended = certificate.getExtension(ExtendedKeyUsageExtension);
  return {
    der: Buffer.from(certificate.rawData),
    uris: names?.names.items.filter(({ type }) => type === "url").map(({ value }) => value) ?? [],
    sanCritical: names?.critical,
    hasSubject: certificate.subject !== "",
    ca: basic?.ca,
    pathLength: basic?.pathLength,
    keyUsage: usage === null ? undefined : BITS.filter((name) => (usage.usages & KeyUsageFlags[name]) !== 0),
    keyUsageCritical: usage?.critical,
    purposes: extended?.usages.map(String),
    hasNameConstraints: certificate.getExtension("2.5.29.30") !== null,
    subject: certificate.subject,
    issuer: certificate.issuer,
  };
}

/** Cuts certificates apart that stand one after the other in DER, and reads each. */
export function viewCertificates(concatenated: Uint8Array): readonly CertificateView[] {
  const bytes = Buffer.from(concatenated);
  const found: CertificateView[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== 0x30 || bytes[at + 1] !== 0x82) throw new Error(`no certificate at octet ${at}`);
    const end = at + 4 + bytes.readUInt16BE(at + 2);
    found.push(viewCertificate(bytes.subarray(at, end)));
    at = end;
  }
  return found;
}

const BITS = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
