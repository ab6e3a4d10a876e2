import { findingsOf, type LintCheck, type LintFinding, type LintVerdict, verdictsOf } from "./lint.ts";
import { AssayError } from "../errors/assay-error.ts";
import { KEY_USAGE } from "./certificate-extensions.ts";
import { readTbsCertificate, type TbsCertificate } from "./certificate-reader.ts";
import { OIDS } from "./der/oid.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";

/** What a leaf must say; taken from the decision, never from the bytes that are checked. */
export interface ExpectedX509Svid {
  readonly spiffeId: string;
  /** The key that was verified, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** DNS names, in their order. */
  readonly dnsNames: readonly string[];
  /** The authority's subject, DER Name. */
  readonly issuer: Uint8Array;
  /** The authority's subject key identifier. */
  readonly authorityKeyId: Uint8Array;
  /** What the authority signs with. */
  readonly signatureAlgorithm: SigningAlgorithm;
  /** End of the authority's certificate, Unix seconds. */
  readonly authorityNotAfter: number;
  /** Latest end the leaf may have, Unix seconds; the authority's unless given. */
  readonly notAfter?: number;
  /** Serial number, where the caller chose it. */
  readonly serial?: Uint8Array;
}

/**
 * Reads a leaf's TBSCertificate and compares it with the profile of X509-SVID §2 to §4, with RFC 5280 and with what
 * was decided. An empty list means that it may be signed. Never throws for what the bytes say.
 */
export function lintX509SvidTbs(tbs: Uint8Array, expected: ExpectedX509Svid): readonly LintFinding[] {
  let leaf: TbsCertificate;
  try {
    leaf = readTbsCertificate(tbs, "CERTIFICATE_LINT_FAILED");
  } catch (error) {
    if (error instanceof AssayError) return [{ rule: "RFC5280-4.1", detail: error.detail }];
    throw error;
  }
  return findingsOf((check) => walk(leaf, expected, check));
}

/** Every rule of {@link lintX509SvidTbs} with its verdict on a leaf that was read already. */
export function judgeX509Svid(leaf: TbsCertificate, expected: ExpectedX509Svid): readonly LintVerdict[] {
  return verdictsOf((check) => walk(leaf, expected, check));
}

function walk(leaf: TbsCertificate, expected: ExpectedX509Svid, check: LintCheck): void {
  lintNames(leaf, expected, check);
  lintProfile(leaf, check);
  lintOrigin(leaf, expected, check);
}

function lintNames(leaf: TbsCertificate, expected: ExpectedX509Svid, check: LintCheck): void {
  const { uris = [], dnsNames = [], others = 0 } = leaf.subjectAltName ?? {};
  check(uris.length === 1, "XS-01", "subjectAltName must have exactly one URI");
  check(uris[0] === expected.spiffeId, "XS-01", "URI of subjectAltName must be the SPIFFE ID decided on");
  check(hasPath(uris[0] ?? ""), "XS-04", "SPIFFE ID of a leaf must have the scheme spiffe and a path");
  check(
    dnsNames.length === expected.dnsNames.length &&
      dnsNames.every((name, at) => name === expected.dnsNames[at]),
    "XS-03",
    "DNS names of subjectAltName must be those decided on",
  );
  check(others === 0, "XS-03", "subjectAltName must have no names but URI and DNS names");
  check(
    leaf.subject.length > 2 || isCritical(leaf, OIDS.subjectAltName),
    "XS-05",
    "subjectAltName must be critical where the subject is empty",
  );
}

function lintProfile(leaf: TbsCertificate, check: LintCheck): void {
  const { basicConstraints, extKeyUsage } = leaf;
  check(basicConstraints !== undefined, "XS-14", "basicConstraints must be present");
  check(basicConstraints?.ca !== true, "XS-14", "cA must be false");
  check(leaf.keyUsage !== undefined, "XS-17", "keyUsage must be present");
  check(isCritical(leaf, OIDS.keyUsage), "XS-18", "keyUsage must be critical");
  const usage = leaf.keyUsage ?? 0;
  check((usage & KEY_USAGE.digitalSignature) !== 0, "XS-21", "digitalSignature must be set");
  check((usage & KEY_USAGE.keyCertSign) === 0, "XS-23", "keyCertSign must not be set");
  check((usage & KEY_USAGE.crlSign) === 0, "XS-24", "cRLSign must not be set");
  const allowed = KEY_USAGE.digitalSignature | KEY_USAGE.keyEncipherment | KEY_USAGE.keyAgreement;
  check((usage & ~allowed) === 0, "XS-43", "keyUsage has bits that a leaf does not need");
  check(extKeyUsage !== undefined, "XS-25", "extKeyUsage must be present");
  check(
    extKeyUsage?.length === 2 &&
      extKeyUsage.includes(OIDS.serverAuth) &&
      extKeyUsage.includes(OIDS.clientAuth),
    "XS-27",
    "extKeyUsage must be serverAuth and clientAuth",
  );
  const foreign = leaf.extensions.find(({ oid }) => !LEAF_EXTENSIONS.has(oid));
  check(
    foreign === undefined,
    "RFC5280-4.2",
    foreign === undefined
      ? "extensions must be those of the profile"
      : `extension ${foreign.oid} does not belong to the profile`,
  );
}

function lintOrigin(leaf: TbsCertificate, expected: ExpectedX509Svid, check: LintCheck): void {
  check(equal(leaf.spki, expected.spki), "RFC5280-4.1.2.7", "public key must be the one verified");
  check(equal(leaf.issuer, expected.issuer), "RFC5280-4.1.2.4", "issuer must be the authority's subject");
  check(
    leaf.signatureAlgorithm.oid === SIGNATURE_OIDS[expected.signatureAlgorithm],
    "RFC5280-4.1.2.3",
    "signature algorithm must be the authority's",
  );
  check(leaf.issuer.length > 2, "RFC5280-4.1.2.4", "issuer must not be empty");
  check(leaf.notBefore < leaf.notAfter, "RFC5280-4.1.2.5", "notBefore must lie before notAfter");
  check(
    leaf.notAfter <= expected.authorityNotAfter,
    "RFC5280-6.1",
    "notAfter must not exceed the authority's",
  );
  check(
    leaf.notAfter <= (expected.notAfter ?? expected.authorityNotAfter),
    "RFC5280-4.1.2.5",
    "notAfter must not exceed the end decided on",
  );
  check(
    leaf.authorityKeyId !== undefined && equal(leaf.authorityKeyId, expected.authorityKeyId),
    "RFC5280-4.2.1.1",
    "authorityKeyIdentifier must be the authority's key identifier",
  );
  check(
    !isCritical(leaf, OIDS.authorityKeyIdentifier),
    "RFC5280-4.2.1.1",
    "authorityKeyIdentifier must not be critical",
  );
  check(leaf.subjectKeyId?.length === 20, "RFC5280-4.2.1.2", "subjectKeyIdentifier must have 20 octets");
  check(
    !isCritical(leaf, OIDS.subjectKeyIdentifier),
    "RFC5280-4.2.1.2",
    "subjectKeyIdentifier must not be critical",
  );
  check(
    expected.serial === undefined || equal(leaf.serial, withoutLeadingZeros(expected.serial)),
    "RFC5280-4.1.2.2",
    "serial number must be the one recorded",
  );
}

function isCritical(leaf: TbsCertificate, oid: string): boolean {
  return leaf.extensions.some((extension) => extension.oid === oid && extension.critical);
}

/** Whether this is a URI of the scheme `spiffe` with a trust domain and a path. */
export function hasPath(spiffeId: string): boolean {
  const slash = spiffeId.indexOf("/", SCHEME.length);
  return spiffeId.startsWith(SCHEME) && slash > SCHEME.length && slash < spiffeId.length - 1;
}

function withoutLeadingZeros(octets: Uint8Array): Uint8Array {
  const start = octets.findIndex((octet) => octet !== 0);
  return start <= 0 ? octets : octets.subarray(start);
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

const SCHEME = "spiffe://";
const SIGNATURE_OIDS: Readonly<Record<SigningAlgorithm, string>> = {
  "ecdsa-sha256": OIDS.ecdsaWithSha256,
  "ecdsa-sha384": OIDS.ecdsaWithSha384,
  "rsa-sha256": OIDS.sha256WithRsaEncryption,
};
const LEAF_EXTENSIONS: ReadonlySet<string> = new Set([
  OIDS.keyUsage,
  OIDS.extKeyUsage,
  OIDS.basicConstraints,
  OIDS.subjectKeyIdentifier,
  OIDS.authorityKeyIdentifier,
  OIDS.subjectAltName,
]);
