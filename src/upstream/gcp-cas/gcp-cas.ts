/**
 * upstream/gcp-cas/ — an upstream authority that has X.509 authorities signed by Google's Certificate Authority Service.
 *
 * Must never judge what it was given: whoever ordered does. The library of credentials is loaded only here.
 * Called by the server's composition.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { GoogleClient } from "../../cloud/google/google-client.ts";
import { googleSettingsShape, openConfiguredGoogle } from "../../cloud/google/google-settings.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { defineUpstreamAuthority, type UpstreamAuthority } from "../../plugin/upstream-authority.ts";
import { answeredCertificates, asRoots } from "../pem-answer.ts";
import { enabledAuthorities } from "./cas-authorities.ts";
import { casCalls } from "./cas-call.ts";
import { certificateOrder } from "./cas-certificate.ts";

const config = z.strictObject({
  root_cert_spec: z
    .strictObject({
      project_name: z
        .string()
        .max(128)
        .regex(/^[a-z0-9][a-z0-9:.-]*$/)
        .describe("Project of the certificate authorities"),
      region_name: z
        .string()
        .max(64)
        .regex(/^[a-z0-9-]+$/)
        .describe("Region of the certificate authorities"),
      ca_pool: z
        .string()
        .regex(/^[A-Za-z0-9_-]{1,63}$/)
        .optional()
        .describe("Pool of the certificate authorities; every pool of the region without"),
      label_key: z
        .string()
        .regex(/^[a-z][a-z0-9_-]{0,62}$/)
        .describe("Label of the certificate authorities"),
      label_value: z
        .string()
        .regex(/^[a-z0-9_-]{1,63}$/)
        .describe("What the label must be"),
    })
    .describe("Which certificate authorities sign and are trusted"),
  ...googleSettingsShape({
    service: "Certificate Authority Service",
    endpoint: "https://privateca.googleapis.com",
  }),
});

/** The settings of the plugin. */
export type GcpCasConfig = z.output<typeof config>;

/** The `gcp_cas` upstream authority plugin. */
export const gcpCasUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "gcp_cas",
  config,
  create: async (settings: GcpCasConfig, { clock }) =>
    openGcpCas(settings, await openConfiguredGoogle(settings, clock)),
});

/**
 * Opens the certificate authorities that the settings describe. Nothing is asked of them before an order.
 * @param newRequestId Gives a fresh UUID for each order, by which Google knows an order that is sent again.
 */
export function openGcpCas(
  settings: GcpCasConfig,
  client: GoogleClient,
  newRequestId: () => string = randomUUID,
): UpstreamAuthority {
  const { root_cert_spec: where } = settings;
  const spec = {
    project: where.project_name,
    region: where.region_name,
    pool: where.ca_pool,
    labelKey: where.label_key,
    labelValue: where.label_value,
  };
  const closing = new AbortController();

  return {
    async mintX509Ca({ csr, ttl, signal }) {
      const call = casCalls(AbortSignal.any([signal, closing.signal]));
      const authorities = await enabledAuthorities(client, call, spec);
      const [signer, ...others] = authorities;
      if (signer === undefined) throw new Error("no certificate authority was found and none was missed");
      const requestId = newRequestId();
      const { certificateId, body } = certificateOrder(csr, ttl, requestId);
      const made = await call("privateca.certificates.create", (limits) =>
        client.ask({
          method: "POST",
          path: `${signer.pool}/certificates`,
          query: { certificateId, issuingCertificateAuthorityId: signer.id, requestId },
          body,
          repeatable: true,
          ...limits,
        }),
      );
      const [certificate, ...more] = answeredCertificates(made["pemCertificate"], "certificate");
      if (certificate === undefined || more.length > 0) refuse("the answer must have one certificate");
      const chain = chainIn(made["pemCertificateChain"]);
      const roots = [...chain.slice(-1), ...others.flatMap(({ pemChain }) => rootIn(pemChain))];
      return { chain: [certificate, ...chain.slice(0, -1)], roots: asRoots(roots) };
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error("the server is shutting down"));
      client[Symbol.dispose]();
    },
  };
}

/** Each entry is one certificate, the issuer's first and the root last. */
function chainIn(pems: unknown): readonly Uint8Array[] {
  if (!Array.isArray(pems) || pems.length === 0 || pems.length > MAX_CHAIN) {
    refuse(`the answer must have a chain of 1 to ${MAX_CHAIN} certificates`);
  }
  return pems.flatMap((pem: unknown) => answeredCertificates(pem, "chain"));
}

/** The root of another authority, which is trusted before it signs; its own certificate may be an intermediate. */
function rootIn(pemChain: readonly string[]): readonly Uint8Array[] {
  const [root] = pemChain.slice(-1);
  return root === undefined ? [] : answeredCertificates(root, "root of a certificate authority").slice(-1);
}

function refuse(detail: string): never {
  throw new AssayError("UPSTREAM_REFUSED", detail);
}

const MAX_CHAIN = 16;
