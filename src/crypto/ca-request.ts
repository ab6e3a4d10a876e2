import { OIDS } from "./der/oid.ts";
import { primitive, sequence, trueValue } from "./der/writer.ts";
import { requestedExtension, writeRequestInfo } from "./pkcs10-writer.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { assembleSigned } from "./signed-der.ts";
import type { DistinguishedName } from "./x501-name.ts";

/** What a request for a CA certificate says. */
export interface CaRequestFields {
  /** Trust domain name without scheme; becomes the only name asked for (X509-SVID §3.2). */
  readonly trustDomain: string;
  /** The CA's public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly subject: DistinguishedName;
}

/**
 * Makes a PKCS#10 request (RFC 2986) for a CA certificate in DER: asks for cA, for keyCertSign and cRLSign, and for the trust
 * domain's SPIFFE ID. `sign` makes the signature of `algorithm` (ECDSA as DER) with the private key of `spki`.
 */
export async function createCaRequest(
  { trustDomain, spki, subject }: CaRequestFields,
  algorithm: SigningAlgorithm,
  sign: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<Uint8Array> {
  const name = primitive(0x86, `spiffe://${trustDomain}`);
  const info = writeRequestInfo({
    spki,
    subject,
    extensions: [
      requestedExtension(OIDS.basicConstraints, true, sequence(trueValue())),
      requestedExtension(OIDS.keyUsage, true, primitive(0x03, CA_KEY_USAGE)),
      requestedExtension(OIDS.subjectAltName, false, sequence(name)),
    ],
  });
  return assembleSigned(info, algorithm, await sign(info));
}

// keyCertSign and cRLSign: bits 5 and 6, one unused.
const CA_KEY_USAGE = Uint8Array.of(1, 0x06);
