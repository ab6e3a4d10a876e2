import { AssayError } from "../errors/assay-error.ts";
import { KEY_USAGE } from "./certificate-extensions.ts";
import type { Certificate } from "./certificate-reader.ts";
import { isSignedBy } from "./certificate-signature.ts";
import { OIDS } from "./der/oid.ts";
import { NAME_CONSTRAINTS, permitsUri, readUriConstraints } from "./name-constraints.ts";

/** What {@link verifyChain} works on. */
export interface ChainToVerify {
  readonly leaf: Certificate;
  /** Certificates that may stand between leaf and root, in any order; at most 16. */
  readonly intermediates: readonly Certificate[];
  /**
   * The trust anchors. Hundreds with one name are fine if they have subject key identifiers, as CAs must
   * (RFC 5280 §4.2.1.2); of those with one name and none, 64 can be tried.
   */
  readonly roots: readonly Certificate[];
  /** The moment of the check, Unix seconds. */
  readonly at: number;
  /** A purpose that every certificate below the root with an extKeyUsage must have, dotted. */
  readonly requiredPurpose?: string;
}

/**
 * Finds and validates a certification path (RFC 5280 §6.1) of at most 10 certificates and returns it, leaf first,
 * root last. Checked: signatures, validity (the root's too), name chaining byte for byte, cA, keyCertSign,
 * pathLenConstraint, key identifiers, critical extensions, purposes, name constraints on URIs. A certificate with
 * constraints on names of other kinds is refused, as they are not evaluated. At most 64 signatures are verified, whatever is sent.
 * @throws AssayError `INVALID_CERTIFICATE` naming what stood in the way of the path that came nearest.
 */
export function verifyChain(chain: ChainToVerify): readonly Certificate[] {
  if (chain.intermediates.length > MAX_INTERMEDIATES) {
    fail(`there must be at most ${MAX_INTERMEDIATES} intermediate certificates`);
  }
  const search: Search = { chain, signaturesLeft: MAX_SIGNATURES, fault: undefined, faultDepth: -1 };
  const leafFault = certificateFault(chain.leaf, "leaf", chain);
  if (leafFault !== undefined) fail(leafFault);
  return extend(search, [chain.leaf]) ?? fail(search.fault ?? "no trusted authority issued the certificate");
}

interface Search {
  readonly chain: ChainToVerify;
  signaturesLeft: number;
  fault: string | undefined;
  faultDepth: number;
}

function extend(search: Search, path: readonly Certificate[]): readonly Certificate[] | undefined {
  const current = path[path.length - 1] as Certificate;
  if (path.length >= MAX_DEPTH) {
    note(search, path, `chain is longer than ${MAX_DEPTH} certificates`);
    return undefined;
  }
  for (const root of candidates(current, search.chain.roots)) {
    if (isUsable(search, path, root, "root")) return [...path, root];
  }
  for (const issuer of candidates(current, search.chain.intermediates)) {
    if (path.some((other) => sameKeyAndName(other, issuer))) continue;
    if (!isUsable(search, path, issuer, "intermediate")) continue;
    const found = extend(search, [...path, issuer]);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Those whose name and key identifier fit as the issuer of `certificate`; certain ones before the merely possible. */
function candidates(certificate: Certificate, from: readonly Certificate[]): readonly Certificate[] {
  const certain: Certificate[] = [];
  const possible: Certificate[] = [];
  for (const issuer of from) {
    if (!equal(issuer.subject, certificate.issuer)) continue;
    if (certificate.authorityKeyId === undefined || issuer.subjectKeyId === undefined) possible.push(issuer);
    else if (equal(certificate.authorityKeyId, issuer.subjectKeyId)) certain.push(issuer);
  }
  return [...certain, ...possible];
}

function isUsable(search: Search, path: readonly Certificate[], issuer: Certificate, role: Role): boolean {
  const current = path[path.length - 1] as Certificate;
  const fault =
    certificateFault(issuer, role, search.chain) ??
    authorityFault(issuer, role, path) ??
    signatureFault(search, current, issuer, role);
  if (fault !== undefined) note(search, path, fault);
  return fault === undefined;
}

function signatureFault(
  search: Search,
  current: Certificate,
  issuer: Certificate,
  role: Role,
): string | undefined {
  if (search.signaturesLeft-- <= 0) fail("finding the chain takes too many signature checks");
  if (isSignedBy(current, issuer)) return undefined;
  return `signature does not verify with the key of the ${role} certificate named as issuer`;
}

type Role = "leaf" | "intermediate" | "root";

function certificateFault(certificate: Certificate, role: Role, chain: ChainToVerify): string | undefined {
  if (chain.at < certificate.notBefore) return `${role} certificate is not valid yet`;
  if (chain.at > certificate.notAfter) return `${role} certificate has expired`;
  for (const { oid, critical } of certificate.extensions) {
    if (critical && !UNDERSTOOD.has(oid))
      return `${role} certificate has the unknown critical extension ${oid}`;
  }
  const { keyKind, oid: algorithm } = certificate.signatureAlgorithm;
  if (role !== "root" && keyKind === "unsupported") {
    return `${role} certificate has the signature algorithm ${algorithm}, which is not supported`;
  }
  const { requiredPurpose } = chain;
  const { extKeyUsage } = certificate;
  if (role === "root" || requiredPurpose === undefined || extKeyUsage === undefined) return undefined;
  if (extKeyUsage.includes(requiredPurpose) || extKeyUsage.includes(OIDS.anyExtendedKeyUsage))
    return undefined;
  return `${role} certificate is not meant for the purpose ${requiredPurpose}`;
}

function authorityFault(issuer: Certificate, role: Role, path: readonly Certificate[]): string | undefined {
  if (issuer.basicConstraints?.ca !== true) return `${role} certificate is not a CA certificate`;
  if (issuer.keyUsage !== undefined && (issuer.keyUsage & KEY_USAGE.keyCertSign) === 0) {
    return `${role} certificate may not sign certificates`;
  }
  const { pathLength } = issuer.basicConstraints;
  // Self-issued certificates do not count (RFC 5280 §4.2.1.9), nor does the leaf.
  const below = path.filter(
    (certificate, index) => index > 0 && !equal(certificate.subject, certificate.issuer),
  );
  if (pathLength !== undefined && below.length > pathLength) {
    return `${role} certificate allows only ${pathLength} intermediate certificates below it`;
  }
  return constraintsFault(issuer, role, path);
}

function constraintsFault(issuer: Certificate, role: Role, path: readonly Certificate[]): string | undefined {
  const extension = issuer.extensions.find(({ oid }) => oid === NAME_CONSTRAINTS);
  if (extension === undefined) return undefined;
  const constraints = readUriConstraints(extension.value);
  if (constraints.hasOthers) {
    return `${role} certificate has name constraints on names other than URIs, which are not supported`;
  }
  const isOutside = path.some(
    (certificate, index) =>
      // RFC 5280 §4.2.1.10: of self-issued certificates the leaf alone is bound.
      (index === 0 || !equal(certificate.subject, certificate.issuer)) &&
      certificate.subjectAltName?.uris.some((uri) => !permitsUri(constraints, uri)),
  );
  return isOutside
    ? `${role} certificate has name constraints that do not permit the URIs below it`
    : undefined;
}

/** Keeps the fault of the longest path so far: it says most about what is wrong. */
function note(search: Search, path: readonly Certificate[], fault: string): void {
  if (path.length <= search.faultDepth) return;
  search.fault = fault;
  search.faultDepth = path.length;
}

function sameKeyAndName(left: Certificate, right: Certificate): boolean {
  return left === right || (equal(left.subject, right.subject) && equal(left.spki, right.spki));
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && Buffer.compare(left, right) === 0;
}

function fail(detail: string): never {
  throw new AssayError("INVALID_CERTIFICATE", detail);
}

const MAX_DEPTH = 10;
const MAX_INTERMEDIATES = 16;
// A bound on what a stranger's handshake can cost. Only anchors with one name and no key identifier come near it: each
// may then be the issuer, and must be tried. A trust domain with more of them is refused rather than let anybody who can
// send a chain buy hundreds of signature checks; identifiers, or names that differ, are the remedy.
const MAX_SIGNATURES = 64;
const UNDERSTOOD: ReadonlySet<string> = new Set([
  OIDS.basicConstraints,
  OIDS.keyUsage,
  OIDS.extKeyUsage,
  OIDS.subjectAltName,
  OIDS.subjectKeyIdentifier,
  OIDS.authorityKeyIdentifier,
  OIDS.certificatePolicies,
  NAME_CONSTRAINTS,
]);
