import { createHash } from "node:crypto";
import { toPem } from "../../crypto/pem.ts";
import { readCertificationRequest } from "../../crypto/pkcs10.ts";
import { nameAttribute } from "../../crypto/x501-name.ts";

/** What is sent to have a certificate made. */
export interface CertificateOrder {
  /** Unique in the pool. */
  readonly certificateId: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * A signing request in the words of Certificate Authority Service: subject, URI names and public key of the request, and
 * what a CA that signs nothing but SVIDs may do. It is told in full instead of sending the request as it is, as CAS
 * takes over what is in a request and so would make no CA of it.
 * @param ttl Seconds.
 * @param nonce Fresh for each order: CAS makes a certificate of one ID once and never again.
 * @throws AssayError `INVALID_CSR`.
 */
export function certificateOrder(csr: Uint8Array, ttl: number, nonce: string): CertificateOrder {
  const { spki, subject, uris } = readCertificationRequest(csr);
  const names = SUBJECT.map(([member, oid]) => [member, nameAttribute(subject, oid)] as const);
  return {
    certificateId: createHash("sha256").update(spki).update(nonce).digest("base64url"),
    body: {
      lifetime: `${ttl}s`,
      config: {
        publicKey: { format: "PEM", key: Buffer.from(toPem("PUBLIC KEY", spki)).toString("base64") },
        subjectConfig: {
          subject: Object.fromEntries(names.filter(([, value]) => value !== undefined)),
          subjectAltName: { uris },
        },
        x509Config: {
          caOptions: { isCa: true, maxIssuerPathLength: 0 },
          keyUsage: { baseKeyUsage: { certSign: true, crlSign: true } },
        },
      },
    },
  };
}

const SUBJECT = [
  ["commonName", "2.5.4.3"],
  ["countryCode", "2.5.4.6"],
  ["organization", "2.5.4.10"],
  ["organizationalUnit", "2.5.4.11"],
  ["locality", "2.5.4.7"],
  ["province", "2.5.4.8"],
] as const;
