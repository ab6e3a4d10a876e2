import "reflect-metadata/lite";
import {
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { webcrypto } from "node:crypto";
import type {} from "./web-crypto.ts";
import { readCertificate } from "./certificate-reader.ts";
import { subjectKeyIdentifier } from "./keys.ts";
import { serialToDecimal, serialToHex } from "./random.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { assembleSigned } from "./signed-der.ts";

/** What the certificate of a self-signed X.509 authority is made from. */
export interface X509AuthorityFields {
  /** Trust domain name without scheme. */
  readonly trustDomain: string;
  /** The authority's public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Serial number, big-endian and positive; also written into the subject, so that names tell authorities apart. */
  readonly serial: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  readonly signatureAlgorithm: SigningAlgorithm;
  /** `C` and `O` of the subject; `US` and `SPIFFE` unless given. */
  readonly country?: string;
  readonly organization?: string;
}

/**
 * The self-signed certificate of an X.509 authority in DER (X509-SVID §3.2, contents as SPIRE's). The key never comes
 * here: `sign` is given the TBSCertificate and returns the signature (ECDSA as DER).
 */
export async function createX509AuthorityCertificate(
  fields: X509AuthorityFields,
  sign: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<Uint8Array> {
  const name = new Name([
    { C: [fields.country ?? "US"] },
    { O: [fields.organization ?? "SPIFFE"] },
    { "2.5.4.5": [{ printableString: serialToDecimal(fields.serial) }] },
  ]);
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: serialToHex(fields.serial),
      subject: name,
      issuer: name,
      notBefore: new Date(fields.notBefore * 1000),
      notAfter: new Date(fields.notAfter * 1000),
      publicKey: Uint8Array.from(fields.spki),
      signingAlgorithm: ALGORITHMS[fields.signatureAlgorithm],
      // The library wants a signature to put in; it is replaced below by one over the bytes it has laid out.
      signature: new Uint8Array(PLACEHOLDER_OCTETS),
      extensions: extensionsOf(fields),
    },
    webcrypto,
  );
  const { tbs } = readCertificate(new Uint8Array(certificate.rawData));
  return assembleSigned(tbs, fields.signatureAlgorithm, await sign(tbs));
}

function extensionsOf({ trustDomain, spki }: X509AuthorityFields): Extension[] {
  return [
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new BasicConstraintsExtension(true, undefined, true),
    new SubjectKeyIdentifierExtension(Buffer.from(subjectKeyIdentifier(spki)).toString("hex")),
    new SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
  ];
}

const PLACEHOLDER_OCTETS = 64;
const ALGORITHMS = {
  "ecdsa-sha256": { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  "ecdsa-sha384": { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" },
  "rsa-sha256": { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
} as const;
