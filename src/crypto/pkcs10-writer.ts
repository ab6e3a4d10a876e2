import type { SigningAlgorithm } from "./signature-algorithm.ts";
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
} from "./der/writer.ts";
import { assembleSigned } from "./signed-der.ts";
import { type DistinguishedName, writeName } from "./x501-name.ts";

/** What a certificate signing request asks for. */
export interface CertificationRequestFields {
  /** The public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** The subject; empty unless given. */
  readonly subject?: DistinguishedName;
  /** URI names, e.g. the SPIFFE ID wanted. ASCII. */
  readonly uris?: readonly string[];
  /** DNS names. ASCII. */
  readonly dnsNames?: readonly string[];
}

/**
 * Makes a PKCS#10 request (RFC 2986) in DER. `sign` makes the signature of `algorithm` over the bytes it is given
 * (ECDSA as DER) with the private key that belongs to `spki`.
 */
export function createCertificationRequest(
  fields: CertificationRequestFields,
  algorithm: SigningAlgorithm,
  sign: (bytes: Uint8Array) => Uint8Array,
): Uint8Array {
  const info = encode(
    sequence(
      tinyInteger(0),
      writeName(fields.subject ?? []),
      fields.spki,
      constructed(0xa0, extensionRequest(fields)),
    ),
  );
  return assembleSigned(info, algorithm, sign(info));
}

function extensionRequest({ uris = [], dnsNames = [] }: CertificationRequestFields): readonly Der[] {
  if (uris.length + dnsNames.length === 0) return [];
  const names = [
    ...uris.map((uri) => primitive(0x86, uri)),
    ...dnsNames.map((dnsName) => primitive(0x82, dnsName)),
  ];
  const subjectAltName = sequence(oid(OIDS.subjectAltName), octetsOf(sequence(...names)));
  return [sequence(oid(OIDS.extensionRequest), set(sequence(subjectAltName)))];
}
