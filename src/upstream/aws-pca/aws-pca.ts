/**
 * upstream/aws-pca/ — an upstream authority that has X.509 authorities signed by AWS Private Certificate Authority.
 *
 * Must never judge what it was given: whoever ordered does. The SDK is loaded only where this is chosen.
 * Called by the server's composition.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import { awsClientConfig } from "../../cloud/aws/aws-client-config.ts";
import { awsError, awsErrorName, isPassing } from "../../cloud/aws/aws-error.ts";
import { awsSettings, awsSettingsShape } from "../../cloud/aws/aws-settings.ts";
import type { AwsCallOptions } from "../../cloud/aws/sdk.ts";
import { pause, withDeadline } from "../../cloud/deadline.ts";
import { toPem } from "../../crypto/pem.ts";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import {
  defineUpstreamAuthority,
  type UpstreamAuthority,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import { answeredCertificates, asRoots, readSupplementalRoots } from "../pem-answer.ts";
import type { PcaClient, PcaModule } from "./pca-client.ts";

const { region, ...aws } = awsSettingsShape({
  service: "Private CA",
  region: "Region of the certificate authority",
});
const config = z.strictObject({
  region,
  certificate_authority_arn: z
    .string()
    .max(200)
    .regex(/^arn:[\w-]+:acm-pca:[\w-]*:\d+:certificate-authority\/[\w-]+$/)
    .describe("ARN of the certificate authority that signs"),
  ca_signing_template_arn: z
    .string()
    .max(200)
    .regex(/^arn:[\w-]+:acm-pca:::template\/[\w/-]+$/)
    .default("arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1")
    .describe("ARN of the template that certificates are made by"),
  signing_algorithm: z
    .string()
    .regex(/^[A-Z0-9_]{1,64}$/)
    .optional()
    .describe("Algorithm of the signature, such as SHA256WITHECDSA; the authority's own without"),
  supplemental_bundle_path: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe("PEM file with roots that are trusted besides the authority's own"),
  ...aws,
});

/** The settings of the plugin. */
export type AwsPcaConfig = z.output<typeof config>;

/** The `aws_pca` upstream authority plugin. */
export const awsPcaUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "aws_pca",
  config,
  create: async (settings: AwsPcaConfig, { clock }) => {
    const { ACMPCA } = await loadOptionalPackage<PcaModule>(PCA_PACKAGE, {
      folder: settings.packages_folder,
    });
    const client = new ACMPCA(await awsClientConfig(awsSettings(settings), clock));
    return openAwsPca(settings, client, clock);
  },
});

/**
 * Opens an authority of AWS Private CA. Nothing is asked of it before an order.
 * @param newIdempotencyToken Gives a fresh text for each order, by which AWS knows an order that is sent again.
 * @throws AssayError `CONFIG_INVALID` where the supplemental roots cannot be used.
 */
export async function openAwsPca(
  settings: AwsPcaConfig,
  pca: PcaClient,
  clock: Clock,
  newIdempotencyToken: () => string = randomUUID,
): Promise<UpstreamAuthority> {
  const { certificate_authority_arn: CertificateAuthorityArn, supplemental_bundle_path: bundle } = settings;
  const supplemental =
    bundle === undefined ? [] : await readSupplementalRoots("supplemental_bundle_path", bundle);
  const closing = new AbortController();

  return {
    async mintX509Ca(order) {
      const signal = AbortSignal.any([order.signal, closing.signal]);
      const call: Call = (action, make) => called(action, make, clock, signal);
      const SigningAlgorithm = settings.signing_algorithm ?? (await ownAlgorithm(call));
      const CertificateArn = await issue(call, order, SigningAlgorithm);
      const { certificate, chain } = await issued(call, CertificateArn, signal);
      const [root] = chain.slice(-1);
      return {
        chain: [certificate, ...chain.slice(0, -1)],
        roots: asRoots([...(root === undefined ? [] : [root]), ...supplemental]),
      };
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error("the server is shutting down"));
      pca.destroy();
    },
  };

  async function ownAlgorithm(call: Call): Promise<string> {
    const answer = await call("acm-pca:DescribeCertificateAuthority", (options) =>
      pca.describeCertificateAuthority({ CertificateAuthorityArn }, options),
    );
    const { Status: status = "unknown", CertificateAuthorityConfiguration: facts } =
      answer.CertificateAuthority ?? {};
    if (status !== "ACTIVE") refuse(`the certificate authority is in status ${status}, expected ACTIVE`);
    return facts?.SigningAlgorithm ?? refuse("the certificate authority has no signing algorithm");
  }

  async function issue(
    call: Call,
    { csr, ttl }: UpstreamX509CaOrder,
    SigningAlgorithm: string,
  ): Promise<string> {
    const input = {
      CertificateAuthorityArn,
      Csr: Buffer.from(toPem("CERTIFICATE REQUEST", csr)),
      SigningAlgorithm,
      TemplateArn: settings.ca_signing_template_arn,
      Validity: { Type: "ABSOLUTE", Value: unixSeconds(clock) + ttl },
      IdempotencyToken: newIdempotencyToken(),
    } as const;
    const { CertificateArn } = await call("acm-pca:IssueCertificate", (options) =>
      pca.issueCertificate(input, options),
    );
    return CertificateArn ?? refuse("acm-pca:IssueCertificate gave no ARN");
  }

  /** AWS signs by and by: until then there is no certificate under the ARN. */
  async function issued(call: Call, CertificateArn: string, signal: AbortSignal) {
    for (const delay of ISSUE_DELAYS) {
      const answer = await call("acm-pca:GetCertificate", async (options) => {
        try {
          return await pca.getCertificate({ CertificateAuthorityArn, CertificateArn }, options);
        } catch (error) {
          if (awsErrorName(error) === "RequestInProgressException") return undefined;
          throw error;
        }
      });
      if (answer !== undefined) {
        const [certificate, ...more] = answeredCertificates(answer.Certificate, "certificate");
        if (certificate === undefined || more.length > 0) refuse("the answer must have one certificate");
        return { certificate, chain: answeredCertificates(answer.CertificateChain, "chain") };
      }
      await pause(clock, delay, signal).catch(() => unavailable("acm-pca:GetCertificate was given up"));
    }
    return unavailable("the certificate was not issued within three minutes");
  }
}

type Call = <Answer>(action: string, make: (options: AwsCallOptions) => Promise<Answer>) => Promise<Answer>;

async function called<Answer>(
  action: string,
  make: (options: AwsCallOptions) => Promise<Answer>,
  clock: Clock,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    return await withDeadline({ clock, timeout: CALL_TIMEOUT, signal }, (abortSignal) =>
      make({ abortSignal }),
    );
  } catch (error) {
    if (signal.aborted) return unavailable(`${action} was given up`);
    throw awsError(isPassing(error) ? "UPSTREAM_UNAVAILABLE" : "UPSTREAM_REFUSED", action, error);
  }
}

function refuse(detail: string): never {
  throw new AssayError("UPSTREAM_REFUSED", detail);
}

function unavailable(detail: string): never {
  throw new AssayError("UPSTREAM_UNAVAILABLE", detail);
}

const PCA_PACKAGE = "@aws-sdk/client-acm-pca";
const CALL_TIMEOUT = 15_000;
// Mostly it takes a second or two; together these are three minutes.
const ISSUE_DELAYS = [500, 500, 1000, 1000, 2000, 5000, ...Array.from({ length: 17 }, () => 10_000)];
