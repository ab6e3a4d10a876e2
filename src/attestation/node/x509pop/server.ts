import { randomBytes } from "node:crypto";
import { z } from "zod";
import { unixSeconds } from "../../../clock.ts";
import { KEY_USAGE } from "../../../crypto/certificate-extensions.ts";
import { type Certificate, readCertificate } from "../../../crypto/certificate-reader.ts";
import { verifyChain } from "../../../crypto/chain.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { defineNodeAttestor } from "../../../plugin/node-attestor.ts";
import { DEFAULT_AGENT_PATH_TEMPLATE, parseAgentPathTemplate } from "./agent-path.ts";
import { readCertificateFile } from "./certificate-file.ts";
import { leafFacts, selectorsOf } from "./facts.ts";
import { keyKindOf, type KeyLimits, usableKey, verifyAnswer } from "./proof.ts";
import { NONCE_BYTES, readPayload, writeChallenge } from "./wire.ts";

const path = z.string().min(1).max(4096);
const config = z
  .strictObject({
    mode: z
      .literal("external_pki")
      .default("external_pki")
      .describe("Whose certificates count: a PKI of your own"),
    ca_bundle_path: path
      .optional()
      .describe("PEM file with the root certificates that agents' certificates chain to"),
    ca_bundle_paths: z.array(path).min(1).max(64).optional().describe("The same as several files"),
    agent_path_template: z
      .string()
      .max(1024)
      .default(DEFAULT_AGENT_PATH_TEMPLATE)
      .describe("Path of the agent's SPIFFE ID below /spire/agent"),
    max_intermediates: z
      .int()
      .min(1)
      .max(16)
      .default(4)
      .describe("Intermediate certificates an agent may send"),
    max_rsa_key_size: z
      .int()
      .min(2048)
      .max(8192)
      .default(8192)
      .describe("Bits of an RSA key at most, in any certificate"),
  })
  .refine((config) => (config.ca_bundle_path === undefined) !== (config.ca_bundle_paths === undefined), {
    message: "exactly one of ca_bundle_path and ca_bundle_paths must be set",
  });

/**
 * The server's half of `x509pop`: a certificate of the operator's PKI, and proof that its key is at hand. The wire
 * format is SPIRE's.
 */
export const x509pop = defineNodeAttestor({
  kind: "nodeAttestor",
  apiVersion: 1,
  name: "x509pop",
  config,
  async create(settings, host) {
    const template = parseAgentPathTemplate(settings.agent_path_template);
    const roots = await readRoots(settings.ca_bundle_paths ?? [settings.ca_bundle_path ?? ""]);
    return {
      async attest(evidence, signal) {
        signal.throwIfAborted();
        const certificates = readPayload(evidence.payload, 1 + settings.max_intermediates).map(readSent);
        const [leaf, ...intermediates] = certificates as [Certificate, ...Certificate[]];
        const publicKey = checkLeaf(leaf, settings);
        for (const one of intermediates) usableKey(one.spki, "an intermediate certificate", settings);
        const chain = verifiedChain(leaf, intermediates, roots, unixSeconds(host.clock));
        // Everything from here on is about the one certificate that was verified: its key, its names, its bytes.
        const nonce = randomBytes(NONCE_BYTES);
        const answer = await evidence.challenge(writeChallenge(keyKindOf(publicKey), nonce));
        signal.throwIfAborted();
        verifyAnswer(answer, nonce, publicKey);
        const facts = leafFacts(leaf, host.trustDomain);
        return {
          agentId: template(facts, host.trustDomain),
          selectors: selectorsOf(facts, chain),
          canReattest: true,
        };
      },
      async [Symbol.asyncDispose]() {},
    };
  },
});

async function readRoots(paths: readonly string[]): Promise<readonly Certificate[]> {
  return (await Promise.all(paths.map(readCertificateFile))).flat();
}

function readSent(der: Uint8Array, index: number): Certificate {
  const what = index === 0 ? "leaf certificate" : `intermediate certificate ${index}`;
  return mapped(what, () => readCertificate(der));
}

/** What makes a certificate unfit as a leaf, found before any signature is verified. */
function checkLeaf(leaf: Certificate, limits: KeyLimits) {
  if (leaf.basicConstraints?.ca === true) fail("leaf certificate is a CA certificate");
  if (((leaf.keyUsage ?? 0) & KEY_USAGE.digitalSignature) === 0) {
    fail("leaf certificate is not meant for digital signatures (keyUsage)");
  }
  return usableKey(leaf.spki, "leaf certificate", limits);
}

function verifiedChain(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  roots: readonly Certificate[],
  at: number,
): readonly Certificate[] {
  return mapped("certificate verification failed", () => verifyChain({ leaf, intermediates, roots, at }));
}

function mapped<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof AssayError) || cause.code !== "INVALID_CERTIFICATE") throw cause;
    throw new AssayError("ATTESTATION_FAILED", `${what}: ${cause.detail}`, { cause });
  }
}

function fail(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}
