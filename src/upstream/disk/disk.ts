/**
 * upstream/disk/ — an upstream authority that is a CA's certificate and key in files.
 *
 * Must never keep the key longer than a signature takes, nor put file content into an error.
 * Called by signing, by way of the server's composition.
 */
import { z } from "zod";
import { unixSeconds } from "../../clock.ts";
import { lintSubordinateCaTbs, writeSubordinateCaTbs } from "../../crypto/ca-certificate.ts";
import { readCertificationRequest } from "../../crypto/pkcs10.ts";
import { randomSerial } from "../../crypto/random.ts";
import { assembleSigned } from "../../crypto/signed-der.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { PluginHost } from "../../plugin/host.ts";
import {
  defineUpstreamAuthority,
  type UpstreamX509Ca,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import { randomBytes } from "node:crypto";
import { type CaFiles, loadCa } from "./ca-files.ts";

const path = z.string().min(1).max(4096);

/** The `disk` upstream authority plugin. Its files are read for each authority, so whoever replaces them needs no restart. */
export const diskUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "disk",
  config: z.strictObject({
    cert_file_path: path.describe(
      "PEM file with the CA's certificate, and after it what is between it and a root",
    ),
    key_file_path: path.describe("PEM file with the CA's private key, EC or RSA, readable by nobody else"),
    bundle_file_path: path
      .optional()
      .describe("PEM file with the roots; may be left out where the CA's certificate is self-signed"),
  }),
  async create(config, host) {
    const files: CaFiles = {
      certificate: config.cert_file_path,
      key: config.key_file_path,
      ...(config.bundle_file_path !== undefined && { bundle: config.bundle_file_path }),
    };
    try {
      await loadCa(files, unixSeconds(host.clock));
    } catch (error) {
      // A server whose own authority lives on needs them later; one without says so when it asks.
      host.log.error("files of the upstream authority cannot be used", {
        detail: toAssayError(error).detail,
      });
    }
    return {
      mintX509Ca: (order) => mint(files, order, host),
      async [Symbol.asyncDispose]() {},
    };
  },
});

async function mint(
  files: CaFiles,
  { csr, ttl, signal }: UpstreamX509CaOrder,
  host: PluginHost,
): Promise<UpstreamX509Ca> {
  signal.throwIfAborted();
  const now = unixSeconds(host.clock);
  const ca = await loadCa(files, now);
  const request = readCertificationRequest(csr);
  const issuer = {
    subject: ca.certificate.subject,
    subjectKeyId: ca.subjectKeyId,
    signatureAlgorithm: ca.signatureAlgorithm,
    notAfter: ca.certificate.notAfter,
  };
  const { pathLength } = ca.certificate.basicConstraints ?? {};
  const fields = {
    // Whose it is was never the request's to say.
    trustDomain: host.trustDomain,
    spki: request.spki,
    subject: request.subject,
    serial: randomSerial(randomBytes),
    notBefore: Math.max(now - BACKDATE_SECONDS, ca.certificate.notBefore),
    notAfter: Math.min(now + Math.floor(ttl), ca.certificate.notAfter),
    // One that leaves no room was refused when it was read.
    ...(pathLength !== undefined && { pathLength: pathLength - 1 }),
  };
  const tbs = writeSubordinateCaTbs(fields, issuer);
  const [finding] = lintSubordinateCaTbs(tbs, fields, issuer);
  if (finding !== undefined) {
    throw new AssayError("UPSTREAM_REFUSED", `upstream disk: ${finding.rule}: ${finding.detail}`);
  }
  const own = assembleSigned(tbs, ca.signatureAlgorithm, ca.sign(tbs));
  return {
    chain: [own, ...ca.intermediates],
    roots: ca.roots.map((certificate) => ({ certificate, tainted: false })),
  };
}

const BACKDATE_SECONDS = 10;
