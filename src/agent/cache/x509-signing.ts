import type { SvidKeyType } from "../../spiffe/svid-key-type.ts";
import { createPrivateKey, sign } from "node:crypto";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { generateEcKeyPair, generateRsaKeyPair, type KeyPair } from "../../crypto/keys.ts";
import { createCertificationRequest } from "../../crypto/pkcs10-writer.ts";
import { serialToHex } from "../../crypto/random.ts";
import type { SigningAlgorithm } from "../../crypto/signature-algorithm.ts";
import { parseX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { X509Svid } from "../../spiffe/svid.ts";
import type { ServerApi, X509Outcome } from "../link/server-api.ts";
import { inSlices } from "./in-slices.ts";
import type { SigningOutcome, SvidKind } from "./svid-cache.ts";

/** A fresh key and the request for a certificate over it. */
export interface KeyAndCsr {
  readonly key: KeyPair;
  /** PKCS#10, DER. Names nothing: the identity comes from the entry. */
  readonly csr: Uint8Array;
}

/** An X509-SVID with the authority that signed it. */
export interface SignedX509Svid extends X509Svid {
  /** Authority key identifier in lower-case hex, empty where the leaf has none. */
  readonly authorityId: string;
}

/** The types that the key of an X509-SVID can have. */
export type WorkloadKeyType = SvidKeyType;

/** Makes a key and a CSR signed by it; EC keys at once, an RSA key on another thread. */
export function newKeyAndCsr(type: WorkloadKeyType = "ec-p256"): KeyAndCsr | Promise<KeyAndCsr> {
  switch (type) {
    case "ec-p256":
      return withCsr(generateEcKeyPair("ec-p256"), "ecdsa-sha256", "sha256");
    case "ec-p384":
      return withCsr(generateEcKeyPair("ec-p384"), "ecdsa-sha384", "sha384");
    case "rsa-2048":
    case "rsa-4096":
      return generateRsaKeyPair(type === "rsa-4096" ? 4096 : 2048).then((key) =>
        withCsr(key, "rsa-sha256", "sha256"),
      );
  }
}

/**
 * The X509-SVID that a server made of a CSR of ours. What a server sends is checked before it is handed to anyone: the
 * leaf is an X509-SVID, over our key, and has the ID that the entry promises.
 * @throws AssayError `INVALID_CERTIFICATE` naming what does not fit.
 */
export function signedX509Svid(
  chain: readonly Uint8Array[],
  key: KeyPair,
  expected: SpiffeId | undefined,
): SignedX509Svid {
  const [leafDer] = chain;
  if (leafDer === undefined) throw new AssayError("INVALID_CERTIFICATE", "the server sent an empty chain");
  const leaf = readCertificate(leafDer);
  const facts = parseX509Svid(leaf);
  if (Buffer.compare(facts.spki, key.spki) !== 0) {
    throw new AssayError("INVALID_CERTIFICATE", "the server's certificate is over another key");
  }
  if (expected !== undefined && facts.spiffeId !== expected) {
    throw new AssayError(
      "INVALID_CERTIFICATE",
      `the server's certificate is for ${facts.spiffeId}, expected ${expected}`,
    );
  }
  return {
    spiffeId: facts.spiffeId,
    chain,
    privateKey: key.pkcs8,
    notBefore: facts.notBefore,
    notAfter: facts.notAfter,
    serial: serialToHex(facts.serial),
    authorityId: Buffer.from(leaf.authorityKeyId ?? []).toString("hex"),
  };
}

/** X509-SVIDs of workloads, signed in advance unless the entry says otherwise. */
export function x509SvidKind(
  signer: Pick<ServerApi, "signX509">,
  keyType: WorkloadKeyType,
): SvidKind<SignedX509Svid> {
  return {
    name: "X509-SVID",
    maxBatch: 500,
    onDemand: (entry) => entry.disableX509SvidPrefetch,
    endOf: (svid) => svid.notAfter,
    beginOf: (svid) => svid.notBefore,
    async sign(entries, signal) {
      const keys = await inSlices(entries, ({ svidKeyType }) => newKeyAndCsr(svidKeyType || keyType));
      const requests = entries.map((entry, i) => ({ entryId: entry.id, csr: (keys[i] as KeyAndCsr).csr }));
      const outcomes = await signer.signX509(requests, signal);
      return entries.map((entry, i) => outcomeOf(entry.spiffeId, outcomes[i], (keys[i] as KeyAndCsr).key));
    },
    authoritiesOf: ({ authorityId, chain: [, ...intermediates] }) => [
      authorityId,
      ...intermediates.map((der) => Buffer.from(readCertificate(der).authorityKeyId ?? []).toString("hex")),
    ],
    authoritiesIn: (bundle) =>
      new Map(
        bundle.x509Authorities.map(({ certificate, tainted }) => [
          Buffer.from(readCertificate(certificate).subjectKeyId ?? []).toString("hex"),
          tainted,
        ]),
      ),
  };
}

function outcomeOf(
  expected: SpiffeId,
  outcome: X509Outcome | undefined,
  key: KeyPair,
): SigningOutcome<SignedX509Svid> | undefined {
  if (outcome === undefined) return undefined;
  if ("error" in outcome) return { error: new AssayError("SERVER_UNAVAILABLE", outcome.error.message) };
  try {
    return { svid: signedX509Svid(outcome.chain, key, expected) };
  } catch (error) {
    return { error: toAssayError(error) };
  }
}

function withCsr(key: KeyPair, algorithm: SigningAlgorithm, digest: string): KeyAndCsr {
  const privateKey = createPrivateKey({ key: Buffer.from(key.pkcs8), format: "der", type: "pkcs8" });
  const csr = createCertificationRequest({ spki: key.spki }, algorithm, (bytes) =>
    sign(digest, bytes, privateKey),
  );
  return { key, csr };
}
