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
  trueValue,
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
  const info = writeRequestInfo({
    spki: fields.spki,
    subject: fields.subject ?? [],
    extensions: requestedNames(fields),
  });
  return assembleSigned(info, algorithm, sign(info));
}

/** What is signed of a request: CertificationRequestInfo (RFC 2986 §4.1) in DER, with the extensions that are asked for. */
export function writeRequestInfo(fields: {
  /** The public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly subject: DistinguishedName;
  /** Of `requestedExtension`; no attribute where there are none. */
  readonly extensions: readonly Der[];
}): Uint8Array {
  const { spki, subject, extensions } = fields;
  const attributes =
    extensions.length === 0 ? [] : [sequence(oid(OIDS.extensionRequest), set(sequence(...extensions)))];
  return encode(sequence(tinyInteger(0), writeName(subject), spki, constructed(0xa0, attributes)));
}

/** An extension that a request asks for (RFC 2985 §5.4.2); `type` is a dotted object identifier. */
export function requestedExtension(type: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(type), trueValue(), octetsOf(value)) : sequence(oid(type), octetsOf(value));
}

function requestedNames({ uris = [], dnsNames = [] }: CertificationRequestFields): readonly Der[] {
  if (uris.length + dnsNames.length === 0) return [];
  const names = [
    ...uris.map((uri) => primitive(0x86, uri)),
    ...dnsNames.map((dnsName) => primitive(0x82, dnsName)),
  ];
  return [requestedExtension(OIDS.subjectAltName, false, sequence(...names))];
}
