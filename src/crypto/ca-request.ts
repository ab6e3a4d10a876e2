import { OIDS } from "./der/oid.ts";
import {
  constructed,
  type Der,
  encode,
  octetsOf,
  oid,
  primitive,
  sequence,
  set,
  tinyInteger,
  trueValue,
} from "./der/writer.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { assembleSigned } from "./signed-der.ts";
import { type DistinguishedName, writeName } from "./x501-name.ts";

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
  const extensions = sequence(
    extension(OIDS.basicConstraints, true, sequence(trueValue())),
    extension(OIDS.keyUsage, true, primitive(0x03, CA_KEY_USAGE)),
    extension(OIDS.subjectAltName, false, sequence(name)),
  );
  const request = sequence(oid(OIDS.extensionRequest), set(extensions));
  const info = encode(sequence(tinyInteger(0), writeName(subject), spki, constructed(0xa0, [request])));
  return assembleSigned(info, algorithm, await sign(info));
}

function extension(type: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(type), trueValue(), octetsOf(value)) : sequence(oid(type), octetsOf(value));
}

// keyCertSign and cRLSign: bits 5 and 6, one unused.
const CA_KEY_USAGE = Uint8Array.of(1, 0x06);
