import { AssayError } from "../errors/assay-error.ts";
import { type SpiffeId, pathOf, parseSpiffeId } from "../spiffe/id.ts";
import { KEY_USAGE } from "./certificate-extensions.ts";
import type { Certificate } from "./certificate-reader.ts";
import { verifyChain } from "./chain.ts";
import { type CertificateRevocationList, requireUnrevoked } from "./crl.ts";

/** What an X509-SVID says about its holder. */
export interface X509SvidFacts {
  readonly spiffeId: SpiffeId;
  /** The holder's public key, as SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Serial number, big-endian without sign octet. */
  readonly serial: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
}

/** What is asked of an X509-SVID beside being one. */
export interface X509SvidDemands {
  readonly crls?: readonly CertificateRevocationList[];
  /** A purpose that it must have where it names any, dotted. */
  readonly purpose?: string;
}

/**
 * Reads a leaf as X509-SVID §5.2 wants a validator to: exactly one URI, a SPIFFE ID with a path; no CA; keyUsage
 * with digitalSignature and without keyCertSign and cRLSign. Says nothing about who signed it.
 * @throws AssayError `INVALID_CERTIFICATE` naming the rule broken.
 */
export function parseX509Svid(leaf: Certificate): X509SvidFacts {
  const uris = leaf.subjectAltName?.uris ?? [];
  const [uri] = uris;
  if (uri === undefined || uris.length !== 1)
    return fail(`X509-SVID must have exactly one URI, has ${uris.length}`);
  const spiffeId = parseUri(uri);
  if (pathOf(spiffeId) === "") fail("SPIFFE ID of an X509-SVID must have a path");
  if (leaf.basicConstraints?.ca === true) fail("X509-SVID must not be a CA certificate");
  if (leaf.keyUsage === undefined) return fail("X509-SVID must have keyUsage");
  if ((leaf.keyUsage & KEY_USAGE.digitalSignature) === 0)
    fail("X509-SVID must have digitalSignature in keyUsage");
  if ((leaf.keyUsage & KEY_USAGE.keyCertSign) !== 0) fail("X509-SVID must not have keyCertSign in keyUsage");
  if ((leaf.keyUsage & KEY_USAGE.crlSign) !== 0) fail("X509-SVID must not have cRLSign in keyUsage");
  const { spki, serial, notBefore, notAfter } = leaf;
  return { spiffeId, spki, serial, notBefore, notAfter };
}

/**
 * Validates an X509-SVID: {@link parseX509Svid} and the path to one of `roots` (X509-SVID §5). `chain` is leaf
 * first, then intermediates. The caller picks the roots of the trust domain that the ID names, and compares; and its
 * revocation lists and the purpose that the holder must be good for, where there are any.
 * @throws AssayError `INVALID_CERTIFICATE` naming what is wrong.
 */
export function validateX509Svid(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  at: number,
  { crls = [], purpose }: X509SvidDemands = {},
): X509SvidFacts {
  const [leaf, ...intermediates] = chain;
  if (leaf === undefined) return fail("X509-SVID has no certificate");
  const facts = parseX509Svid(leaf);
  const path = verifyChain({
    leaf,
    intermediates,
    roots,
    at,
    ...(purpose === undefined ? {} : { requiredPurpose: purpose }),
  });
  requireUnrevoked(path, crls);
  return facts;
}

function parseUri(uri: string): SpiffeId {
  try {
    return parseSpiffeId(uri);
  } catch (error) {
    const reason = error instanceof AssayError ? error.detail : "malformed";
    return fail(`URI of an X509-SVID must be a SPIFFE ID: ${reason}`);
  }
}

function fail(detail: string): never {
  throw new AssayError("INVALID_CERTIFICATE", detail);
}
