import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { KEY_USAGE } from "../crypto/certificate-extensions.ts";
import type { Certificate } from "../crypto/certificate-reader.ts";
import { type CertificateRevocationList, readCrl } from "../crypto/crl.ts";
import { importPublicKey } from "../crypto/keys.ts";
import { parseCertificates } from "../crypto/pem.ts";
import { serialToHex } from "../crypto/random.ts";
import { parseX509Svid } from "../crypto/x509-svid.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { X509SVID, X509SVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { parseSpiffeId, type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { X509Bundle } from "./bundles.ts";
import { readOrReport, readX509Bundle, trustDomainOfKey } from "./read-bundles.ts";
import { withoutRepeatedHints } from "./hints.ts";

/** An X509-SVID of this workload, with its private key. */
export interface WorkloadX509Svid {
  readonly spiffeId: SpiffeId;
  /** What the operator says this identity is for; may be empty (Workload API §8). */
  readonly hint: string;
  /** DER certificates, leaf first, then intermediates. */
  readonly chain: readonly Uint8Array[];
  /** The key of the leaf. It prints nothing of itself. */
  readonly privateKey: KeyObject;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Lower-case hex of the leaf's serial number. */
  readonly serial: string;
}

/** All that one message of FetchX509SVID says. */
export interface X509Material {
  /** At least one; the first is the default (Workload API §8). */
  readonly svids: readonly WorkloadX509Svid[];
  readonly bundles: ReadonlyMap<TrustDomain, X509Bundle>;
  readonly crls: readonly CertificateRevocationList[];
}

/**
 * Reads a message of FetchX509SVID as strictly as X509-SVID §5.2 and Workload API §4.5 want it: every mandatory field,
 * leaves by the profile with the ID that the message names, keys that fit, bundles that can be read. Of SVIDs with the
 * same hint the first counts (§5.2.1), of two bundles of one trust domain the one beside the SVID.
 * @param onProblem Told of foreign bundles and revocation lists that cannot be read; they are left out and spoil nothing
 * else: a foreign trust domain could otherwise keep from us what our own takes away.
 * @throws AssayError naming the field: `INVALID_REQUEST`, `INVALID_CERTIFICATE`, `INVALID_SPIFFE_ID` …
 */
export function readX509Material(
  response: X509SVIDResponse,
  onProblem: (problem: AssayError) => void,
): X509Material {
  const received = response.svids.map((svid, at) => ({ svid: readSvid(svid, at), bundle: svid.bundle }));
  if (received.length === 0) throw new AssayError("INVALID_REQUEST", "svids must not be empty");
  const bundles = new Map<TrustDomain, X509Bundle>();
  for (const [at, { svid, bundle }] of received.entries()) {
    const trustDomain = trustDomainOf(svid.spiffeId);
    if (bundle.length === 0) throw new AssayError("INVALID_REQUEST", `svids[${at}].bundle must not be empty`);
    if (!bundles.has(trustDomain)) bundles.set(trustDomain, readX509Bundle(trustDomain, bundle));
  }
  for (const [key, der] of Object.entries(response.federatedBundles)) {
    const trustDomain = trustDomainOfKey(key);
    if (bundles.has(trustDomain)) continue;
    const bundle = readOrReport(trustDomain, () => readX509Bundle(trustDomain, der), onProblem);
    if (bundle !== undefined) bundles.set(trustDomain, bundle);
  }
  return {
    svids: withoutRepeatedHints(received.map(({ svid }) => svid)),
    bundles,
    crls: readCrls(response.crl, onProblem),
  };
}

/** Revocation lists of a message; one that cannot be read is reported and left out. */
export function readCrls(
  crls: readonly Uint8Array[],
  onProblem: (problem: AssayError) => void,
): readonly CertificateRevocationList[] {
  return crls.flatMap((der) => {
    try {
      return [readCrl(Uint8Array.from(der), "INVALID_CRL")];
    } catch (error) {
      onProblem(toAssayError(error));
      return [];
    }
  });
}

function readSvid(message: X509SVID, at: number): WorkloadX509Svid {
  const spiffeId = parseSpiffeId(message.spiffeId);
  const chain = parseCertificates(message.x509Svid, MAX_CHAIN);
  const [leaf, ...intermediates] = chain;
  if (leaf === undefined) throw new AssayError("INVALID_REQUEST", `svids[${at}].x509_svid must not be empty`);
  const facts = parseX509Svid(leaf);
  if (facts.spiffeId !== spiffeId) {
    throw new AssayError("INVALID_CERTIFICATE", `svids[${at}]: leaf is not that of ${spiffeId}`);
  }
  for (const certificate of intermediates) requireAuthority(certificate, at);
  return {
    spiffeId,
    hint: message.hint,
    // Copies: the chain outlives the message, whose buffer holds the private key too.
    chain: chain.map(({ der }) => Uint8Array.from(der)),
    privateKey: readKey(message.x509SvidKey, facts.spki, at),
    notBefore: facts.notBefore,
    notAfter: facts.notAfter,
    serial: serialToHex(facts.serial),
  };
}

function requireAuthority({ basicConstraints, keyUsage }: Certificate, at: number): void {
  const maySign = keyUsage === undefined || (keyUsage & KEY_USAGE.keyCertSign) !== 0;
  if (basicConstraints?.ca === true && maySign) return;
  throw new AssayError("INVALID_CERTIFICATE", `svids[${at}]: only authorities may follow the leaf`);
}

function readKey(pkcs8: Uint8Array, spki: Uint8Array, at: number): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  } catch {
    // What the library says could quote the key.
    throw new AssayError("INVALID_REQUEST", `svids[${at}].x509_svid_key must be a private key in PKCS#8`);
  }
  if (!createPublicKey(key).equals(importPublicKey(spki, "INVALID_CERTIFICATE"))) {
    throw new AssayError("INVALID_CERTIFICATE", `svids[${at}].x509_svid_key is not the key of the leaf`);
  }
  return key;
}

const MAX_CHAIN = 16;
