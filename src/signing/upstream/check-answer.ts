import { verifyChain } from "../../crypto/chain.ts";
import { type Certificate, readCertificate } from "../../crypto/certificate-reader.ts";
import { OIDS } from "../../crypto/der/oid.ts";
import { NAME_CONSTRAINTS, permitsUri, readUriConstraints } from "../../crypto/name-constraints.ts";
import { lintX509AuthorityCertificate } from "../../crypto/x509-authority-lint.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { UpstreamX509Ca } from "../../plugin/upstream-authority.ts";
import type { X509AuthorityCertificate } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/** What was asked of an upstream authority. */
export interface UpstreamQuestion {
  readonly trustDomain: TrustDomain;
  /** SubjectPublicKeyInfo of the key that the request was signed with. */
  readonly publicKey: Uint8Array;
  /** Unix seconds. */
  readonly now: number;
}

/** What an upstream authority answered, found good. */
export interface CheckedUpstreamCa {
  /** DER: the CA's own certificate and what is between it and the root, without it. */
  readonly chain: readonly Uint8Array[];
  /** What is trusted upstream. */
  readonly roots: readonly CheckedRoot[];
  /** The root that the chain leads to. */
  readonly root: CheckedRoot;
  /** Unix seconds, of the CA's own certificate. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A root upstream, read. */
export interface CheckedRoot extends X509AuthorityCertificate {
  /** Its subject key identifier in lower-case hex. */
  readonly id: string;
  readonly publicKey: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Checks what an upstream authority made of a request, and trusts none of it: the certificate is over our key, names our
 * trust domain alone and is a CA's (X509-SVID §3.2 to §4.4); each certificate was signed by the next and the last by one of
 * the roots; all are within their time, none outlives the one that signed it; usages, path lengths and name constraints
 * leave room for X509-SVIDs of ours (RFC 5280 §6.1).
 * @throws AssayError `UPSTREAM_REFUSED` naming the rule broken.
 */
export function checkUpstreamCa(
  answer: UpstreamX509Ca,
  { trustDomain, publicKey, now }: UpstreamQuestion,
): CheckedUpstreamCa {
  const { chain } = answer;
  if (chain.length === 0) fail("count", "the answer holds no certificate");
  if (chain.length > MAX_CHAIN) {
    fail("count", `the chain must have at most ${MAX_CHAIN} certificates, has ${chain.length}`);
  }
  const certificates = chain.map((der, at) => read(der, at === 0 ? "the CA certificate" : `chain/${at}`));
  const [own] = certificates as [Certificate, ...Certificate[]];
  if (!equal(own.spki, publicKey))
    fail("key", "the CA certificate is over another key than the one asked for");
  for (const { rule, detail } of lintX509AuthorityCertificate(own.der, { trustDomain })) {
    if (!LENIENT.has(rule)) fail(rule, detail);
  }
  const { extKeyUsage } = own;
  if (extKeyUsage !== undefined && !extKeyUsage.includes(OIDS.anyExtendedKeyUsage)) {
    const lacks = [OIDS.serverAuth, OIDS.clientAuth].some((purpose) => !extKeyUsage.includes(purpose));
    if (lacks) fail("XS-28", "extKeyUsage of the CA leaves out a purpose that X509-SVIDs have");
  }
  const roots = checkUpstreamRoots(answer.roots, now);
  const path = pathOf(certificates, roots, now);
  requireRoom(path, trustDomain);
  const last = path[path.length - 1] as Certificate;
  const root = roots.find(({ certificate }) => equal(certificate, last.der));
  if (root === undefined) return fail("RFC5280-6.1", "the chain leads to none of the roots");
  return { chain: [...chain], roots, root, notBefore: own.notBefore, notAfter: own.notAfter };
}

/**
 * Reads and checks the roots of an upstream authority: CAs that may sign certificates and have a key identifier, by which they
 * are known from then on. Those that have ended are left out.
 * @throws AssayError `UPSTREAM_REFUSED` naming the rule broken.
 */
export function checkUpstreamRoots(
  roots: readonly X509AuthorityCertificate[],
  now: number,
): readonly CheckedRoot[] {
  if (roots.length > MAX_ROOTS_READ) {
    fail(
      "count",
      `there must be at most ${MAX_ROOTS_READ} roots, ended ones among them, are ${roots.length}`,
    );
  }
  const checked = roots.flatMap(({ certificate, tainted }, at): CheckedRoot[] => {
    const root = read(certificate, `roots/${at}`);
    if (root.basicConstraints?.ca !== true) fail("XS-13", `roots/${at} is not a CA certificate`);
    if (root.notAfter <= now) return [];
    const { subjectKeyId } = root;
    if (subjectKeyId === undefined || subjectKeyId.length === 0) {
      return fail("RFC5280-4.2.1.2", `roots/${at} has no subject key identifier`);
    }
    return [
      {
        id: hex(subjectKeyId),
        certificate,
        tainted,
        publicKey: root.spki,
        notBefore: root.notBefore,
        notAfter: root.notAfter,
      },
    ];
  });
  if (checked.length > MAX_ROOTS) {
    fail("count", `there must be at most ${MAX_ROOTS} roots that have not expired, are ${checked.length}`);
  }
  if (checked.length === 0) fail("count", "there must be at least one root that has not expired");
  return checked;
}

/** The path from the CA to a root, each certificate signed by the next; all that was sent stands on it, in this order. */
function pathOf(
  [own, ...intermediates]: readonly Certificate[],
  roots: readonly CheckedRoot[],
  now: number,
): readonly Certificate[] {
  if (own === undefined) return fail("count", "the answer holds no certificate");
  let path: readonly Certificate[];
  try {
    path = verifyChain({
      leaf: own,
      intermediates,
      roots: roots.map(({ certificate }) => readCertificate(certificate)),
      at: now,
    });
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    return fail("RFC5280-6.1", error.detail, error);
  }
  const isAsSent =
    path.length === intermediates.length + 2 &&
    intermediates.every((certificate, at) => path[at + 1] === certificate);
  if (!isAsSent) {
    fail(
      "RFC5280-6.1",
      "the chain must lead from the CA to below a root, each certificate signed by the next",
    );
  }
  return path;
}

/** Whether the path would still be one with an X509-SVID of ours at its end, for as long as the CA lives. */
function requireRoom(path: readonly Certificate[], trustDomain: TrustDomain): void {
  for (const [at, issuer] of path.entries()) {
    const name = at === 0 ? "the CA certificate" : at === path.length - 1 ? "the root" : `chain/${at}`;
    const extension = issuer.extensions.find(({ oid }) => oid === NAME_CONSTRAINTS);
    const constraints =
      extension === undefined
        ? undefined
        : reading(`name constraints of ${name}`, () => readUriConstraints(extension.value));
    if (constraints?.hasOthers === true) {
      fail("XS-15", `${name} has name constraints on names other than URIs, which are not supported`);
    }
    if (constraints !== undefined && !permitsUri(constraints, `spiffe://${trustDomain}/x`)) {
      fail("XS-15", `name constraints of ${name} do not permit the trust domain ${trustDomain}`);
    }
    if (at === 0) continue;
    const below = path.slice(0, at).filter(({ subject, issuer: by }) => !equal(subject, by));
    const { pathLength } = issuer.basicConstraints ?? {};
    if (pathLength !== undefined && below.length > pathLength) {
      fail(
        "RFC5280-4.2.1.9",
        `${name} allows only ${pathLength} CAs below it, and there are ${below.length}`,
      );
    }
    const child = path[at - 1] as Certificate;
    if (child.notAfter > issuer.notAfter) {
      const which = at === 1 ? "the CA certificate" : `chain/${at - 1}`;
      fail("RFC5280-6.1", `${which} ends after ${name}, which signed it`);
    }
    if (child.authorityKeyId === undefined) {
      fail("RFC5280-4.2.1.1", `authorityKeyIdentifier is missing from the certificate below ${name}`);
    }
  }
}

function read(der: Uint8Array, what: string): Certificate {
  return reading(what, () => readCertificate(der));
}

function reading<Value>(what: string, how: () => Value): Value {
  try {
    return how();
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    return fail("RFC5280-4.1", `${what} cannot be read: ${error.detail}`, error);
  }
}

function fail(rule: string, detail: string, cause?: unknown): never {
  throw new AssayError("UPSTREAM_REFUSED", `upstream authority: ${rule}: ${detail}`, { cause });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

// With a leaf below and a root above it is the longest chain that is verified anywhere.
const MAX_CHAIN = 8;
const MAX_ROOTS = 256;
// Who forgets late has many that ended. Each is read, which takes some tens of microseconds.
const MAX_ROOTS_READ = 2048;
// What others put into a CA's certificate beside what ours have: harmless usages, and purposes that are judged here.
const LENIENT: ReadonlySet<string> = new Set(["XS-43", "XS-28"]);
