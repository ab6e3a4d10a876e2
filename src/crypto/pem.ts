import { AssayError } from "../errors/assay-error.ts";
import { type Certificate, readCertificate } from "./certificate-reader.ts";
import { openDer, SEQUENCE } from "./der/reader.ts";

/** How much {@link parseCertificates} and {@link parsePemCertificates} read at most. */
export const CERTIFICATE_LIST_LIMITS = { bytes: 4_194_304, certificates: 1024 } as const;

/**
 * Reads certificates written one after the other in DER, as the Workload API sends chains and bundles.
 * At most 4 MiB and `most` (1024 unless given) certificates; an empty input is an empty list.
 * @throws AssayError `INVALID_CERTIFICATE`.
 */
export function parseCertificates(
  der: Uint8Array,
  most: number = CERTIFICATE_LIST_LIMITS.certificates,
): readonly Certificate[] {
  const reader = openDer(der, "INVALID_CERTIFICATE", CERTIFICATE_LIST_LIMITS.bytes, "certificates");
  const certificates: Certificate[] = [];
  while (reader.more()) {
    if (certificates.length >= most) reader.fail(`there must be at most ${most} certificates`);
    certificates.push(readCertificate(reader.element(SEQUENCE, "certificate")));
  }
  return certificates;
}

/**
 * Reads the certificates of a PEM text (RFC 7468): at most 4 MiB and `most` (1024 unless given), at least one. Text
 * between the blocks is skipped; a block of another kind, a private key in a trust bundle say, is refused.
 * @throws AssayError `INVALID_CERTIFICATE`.
 */
export function parsePemCertificates(
  text: string,
  most: number = CERTIFICATE_LIST_LIMITS.certificates,
): readonly Certificate[] {
  if (text.length > CERTIFICATE_LIST_LIMITS.bytes)
    fail(`PEM must be at most ${CERTIFICATE_LIST_LIMITS.bytes} bytes`);
  const certificates: Certificate[] = [];
  for (let at = text.indexOf(BEGIN); at >= 0; at = text.indexOf(BEGIN, at)) {
    const labelEnd = text.indexOf(DASHES, at + BEGIN.length);
    const label = labelEnd < 0 ? "" : text.slice(at + BEGIN.length, labelEnd);
    if (label !== "CERTIFICATE") fail("PEM must hold blocks of kind CERTIFICATE only");
    const end = text.indexOf(END, labelEnd);
    if (end < 0) fail("PEM block CERTIFICATE has no end");
    if (certificates.length >= most) fail(`there must be at most ${most} certificates`);
    certificates.push(readCertificate(decode(text.slice(labelEnd + DASHES.length, end))));
    at = end + END.length;
  }
  if (certificates.length === 0) fail("PEM holds no certificate");
  return certificates;
}

/** DER as one PEM block (RFC 7468 §3) with a line feed at the end. */
export function toPem(
  label: "CERTIFICATE" | "PRIVATE KEY" | "PUBLIC KEY" | "CERTIFICATE REQUEST" | "X509 CRL",
  der: Uint8Array,
): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function decode(body: string): Uint8Array {
  const base64 = body.replace(/[\t\n\r ]/g, "");
  const bytes = Buffer.from(base64, "base64");
  // Node's decoder skips what it does not know; a block that does not come back the same had such characters.
  if (bytes.toString("base64") !== base64) fail("PEM block CERTIFICATE is not base64");
  return bytes;
}

function fail(detail: string): never {
  throw new AssayError("INVALID_CERTIFICATE", detail);
}

const BEGIN = "-----BEGIN ";
const DASHES = "-----";
const END = "-----END CERTIFICATE-----";
