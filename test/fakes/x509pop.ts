import { generateKeyPairSync, hash, type KeyObject, randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answerChallenge } from "../../src/attestation/node/x509pop/proof.ts";
import { x509pop } from "../../src/attestation/node/x509pop/server.ts";
import { writePayload } from "../../src/attestation/node/x509pop/wire.ts";
import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import { toPem } from "../../src/crypto/pem.ts";
import type { NodeAttestation, NodeAttestorHost } from "../../src/plugin/node-attestor.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { makeCertificate, makeKey, TEST_NOW, type TestCertificate, type TestKey } from "./certificates.ts";
import { FakeClock } from "./clock.ts";

/** A certificate and the key in it. */
export interface Holder {
  readonly certificate: Certificate;
  readonly key: TestKey;
}

/** A fresh certificate with a fresh key, unless one is given. */
export function holder(wanted: Partial<TestCertificate> & { readonly subject: string }): Holder {
  const key = wanted.key ?? makeKey();
  return { certificate: makeCertificate({ ...wanted, key }), key };
}

/** Where this file's PEM files are; the test that uses them removes it. */
export const folder = mkdtempSync(join(tmpdir(), "x509pop-"));
/** PEM file with the one root that is trusted. */
export const bundle = join(folder, "roots.pem");

/** Root, intermediate and node as good evidence has them, and a root of the same name that nobody trusts. */
export const root = holder({ subject: "root", ca: true });
export const middle = holder({ subject: "middle", ca: true, issuer: root });
export const node = holder({
  subject: "node-1",
  issuer: middle,
  uris: [
    "x509pop://example.org/rack/7/left",
    "x509pop://other.org/rack/8",
    "x509pop://example.org/bare",
    "spiffe://example.org/x",
  ],
});
export const stranger = holder({ subject: "root", ca: true });
/** The good chain, leaf first. */
export const good: readonly Certificate[] = [node.certificate, middle.certificate];
writeFileSync(bundle, toPem("CERTIFICATE", root.certificate.der));

/** A host at the time of the certificates. */
export const host: NodeAttestorHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: new FakeClock(TEST_NOW * 1000),
  log: { debug() {}, info() {}, warn() {}, error() {} },
  consumeJoinToken: () => Promise.reject(new Error("x509pop uses no join tokens")),
};

export type Answer = (challenge: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/** The server's half at work, trusting the root. */
export async function server(config: Readonly<Record<string, unknown>> = {}) {
  const result = await x509pop.config["~standard"].validate({ ca_bundle_path: bundle, ...config });
  if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
  return x509pop.create(result.value, host);
}

/** Attests with these certificates, the proof made with this key; or with that payload and answer. */
export async function attest(
  certificates: readonly Certificate[],
  key: KeyObject,
  {
    config,
    payload,
    answer,
  }: {
    readonly config?: Record<string, unknown>;
    readonly payload?: Uint8Array;
    readonly answer?: Answer;
  } = {},
): Promise<NodeAttestation> {
  await using attestor = await server(config);
  const reply: Answer = answer ?? ((bytes) => answerChallenge(bytes, key, randomBytes(32)));
  return await attestor.attest(
    {
      payload: payload ?? writePayload(certificates.map(({ der }) => der)),
      remoteAddress: "",
      challenge: async (challenge) => reply(challenge),
    },
    new AbortController().signal,
  );
}

/** SHA-1 fingerprint as selectors have it. */
export function sha1({ der }: Certificate): string {
  return hash("sha1", der, "hex");
}

/** Base64 of so many bytes. */
export function b64(count: number): string {
  return Buffer.alloc(count, 1).toString("base64");
}

/** A fresh RSA key. */
export function rsaKey(bits: number): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  return testKey(publicKey, privateKey);
}

/** Any key as a test key; it signs no certificates. */
export function testKey(publicKey: KeyObject, privateKey: KeyObject): TestKey {
  return {
    privateKey,
    spki: publicKey.export({ format: "der", type: "spki" }),
    pkcs8: privateKey.export({ format: "der", type: "pkcs8" }),
    sign: () => {
      throw new Error("this key signs no certificates");
    },
  };
}
