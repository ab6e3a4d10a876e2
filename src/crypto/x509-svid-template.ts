/**
 * crypto/ — DER, X.509 and JOSE behind Assay's own words: reads and writes certificates, requests and JWT-SVIDs.
 *
 * Must never know stores, registration entries, selectors or the network, nor hold a private key beyond a call.
 * Called by signing, attestation and the two programs.
 */
import { AssayError } from "../errors/assay-error.ts";
import { OIDS } from "./der/oid.ts";
import {
  type Der,
  encode,
  encodeAll,
  explicit,
  octetsOf,
  octetString,
  oid,
  primitive,
  sequence,
  time,
  tinyInteger,
  trueValue,
  unsignedInteger,
} from "./der/writer.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { assembleSigned, signatureAlgorithmIdentifier } from "./signed-der.ts";
import { type DistinguishedName, spireName, writeName } from "./x501-name.ts";

/** What all X509-SVIDs of one X.509 authority have in common. */
export interface X509SvidTemplateFacts {
  /** The authority's subject as DER Name, byte for byte as in its certificate. */
  readonly issuer: Uint8Array;
  /** The authority's subject key identifier. */
  readonly authorityKeyId: Uint8Array;
  /** What the authority signs with. */
  readonly signatureAlgorithm: SigningAlgorithm;
  /** Subject of SVIDs that name none; `C=US, O=SPIRE` unless given. An empty one makes subjectAltName critical. */
  readonly defaultSubject?: DistinguishedName;
}

/** What one X509-SVID says. */
export interface X509SvidFields {
  /** The workload's public key, as SubjectPublicKeyInfo; copied into the certificate unchanged. */
  readonly spki: Uint8Array;
  /** Subject key identifier of that key. */
  readonly subjectKeyId: Uint8Array;
  /** The SPIFFE ID, the only URI of subjectAltName. */
  readonly spiffeId: string;
  /** DNS names; the first becomes the common name unless `subject` is given. */
  readonly dnsNames: readonly string[];
  /** Serial number, big-endian and positive. */
  readonly serial: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Subject in place of the template's. */
  readonly subject?: DistinguishedName;
}

/** Builds the X509-SVIDs of one authority. It holds no key: what it builds is signed elsewhere. */
export interface X509SvidTemplate {
  /**
   * The TBSCertificate to be signed.
   * @throws AssayError `CERTIFICATE_LINT_FAILED` where a value cannot be written at all.
   */
  build(fields: X509SvidFields): Uint8Array;
  /** The certificate: TBSCertificate and its signature (ECDSA as DER). */
  assemble(tbs: Uint8Array, signature: Uint8Array): Uint8Array;
}

/**
 * A template for leaf X509-SVIDs (X509-SVID §2 to §4, contents as SPIRE's): critical keyUsage with digitalSignature,
 * keyEncipherment and keyAgreement, both TLS purposes, critical basicConstraints without CA, both key identifiers, and
 * a subjectAltName with one URI that is critical where the subject is empty.
 */
export function createX509SvidTemplate(facts: X509SvidTemplateFacts): X509SvidTemplate {
  const algorithm = signatureAlgorithmIdentifier(facts.signatureAlgorithm);
  const defaultName = facts.defaultSubject ?? spireName("SPIRE");
  const defaultSubject = writeName(defaultName);
  const authorityKeyId = extension(
    OIDS.authorityKeyIdentifier,
    false,
    sequence(primitive(0x80, facts.authorityKeyId)),
  );
  const fixedExtensions = encodeAll([...LEAF_EXTENSIONS, authorityKeyId]);
  const issuer = Uint8Array.from(facts.issuer);
  // Those of one second mostly have the same.
  let validity = { notBefore: Number.NaN, notAfter: Number.NaN, der: new Uint8Array() as Uint8Array };
  const validityOf = ({ notBefore, notAfter }: X509SvidFields): Uint8Array => {
    if (validity.notBefore !== notBefore || validity.notAfter !== notAfter) {
      const der = encode(sequence(timeOf(notBefore, "notBefore"), timeOf(notAfter, "notAfter")));
      validity = { notBefore, notAfter, der };
    }
    return validity.der;
  };

  return {
    build(fields) {
      const commonName = fields.dnsNames[0];
      let subject = defaultSubject;
      if (fields.subject !== undefined) subject = writeName(fields.subject);
      else if (commonName !== undefined && commonName.length <= MAX_COMMON_NAME) {
        subject = writeName([...defaultName, { oid: OIDS.commonName, value: commonName }]);
      }
      const emptySubject = subject.length === 2;
      const subjectAltName: Der[] = [primitive(0x86, ascii(fields.spiffeId, "SPIFFE ID"))];
      for (const dnsName of fields.dnsNames) subjectAltName.push(primitive(0x82, ascii(dnsName, "DNS name")));
      return encode(
        sequence(
          VERSION_3,
          unsignedInteger(fields.serial),
          algorithm,
          issuer,
          validityOf(fields),
          subject,
          fields.spki,
          explicit(
            3,
            sequence(
              fixedExtensions,
              sequence(SUBJECT_KEY_ID, octetsOf(octetString(fields.subjectKeyId))),
              emptySubject
                ? sequence(SUBJECT_ALT_NAME, TRUE, octetsOf(sequence(...subjectAltName)))
                : sequence(SUBJECT_ALT_NAME, octetsOf(sequence(...subjectAltName))),
            ),
          ),
        ),
      );
    },
    assemble: (tbs, signature) => assembleSigned(tbs, facts.signatureAlgorithm, signature),
  };
}

function extension(type: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(type), TRUE, octetsOf(value)) : sequence(oid(type), octetsOf(value));
}

function ascii(text: string, what: string): string {
  if (!PRINTABLE_ASCII.test(text)) {
    throw new AssayError("CERTIFICATE_LINT_FAILED", `${what} must be printable ASCII without spaces`);
  }
  return text;
}

function timeOf(seconds: number, what: string): Der {
  if (!Number.isSafeInteger(seconds) || seconds < 0 || seconds > LAST_SECOND) {
    throw new AssayError("CERTIFICATE_LINT_FAILED", `${what} must be whole seconds before the year 10000`);
  }
  return time(seconds);
}

const TRUE = encode(trueValue());
const VERSION_3 = encode(explicit(0, tinyInteger(2)));
const SUBJECT_KEY_ID = encode(oid(OIDS.subjectKeyIdentifier));
const SUBJECT_ALT_NAME = encode(oid(OIDS.subjectAltName));
const LEAF_EXTENSIONS: readonly Der[] = [
  // digitalSignature, keyEncipherment, keyAgreement: bits 0, 2 and 4.
  extension(OIDS.keyUsage, true, primitive(0x03, Uint8Array.of(3, 0xa8))),
  extension(OIDS.extKeyUsage, false, sequence(oid(OIDS.serverAuth), oid(OIDS.clientAuth))),
  extension(OIDS.basicConstraints, true, sequence()),
];
const PRINTABLE_ASCII = /^[\x21-\x7e]+$/;
// ub-common-name of RFC 5280 appendix A.1; a longer DNS name stays in subjectAltName alone.
const MAX_COMMON_NAME = 64;
const LAST_SECOND = 253_402_300_799;
