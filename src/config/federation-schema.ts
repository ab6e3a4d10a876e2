import { z } from "zod";
import { AssayError } from "../errors/assay-error.ts";
import { type AddressBlock, parseAddressBlock } from "../outbound/address-rules.ts";
import { parseHttpsUrl } from "../outbound/https-url.ts";
import type { HostPort } from "./units.ts";
import * as kind from "./kinds.ts";
import type { ConfigProblem } from "./problems.ts";

const acmeSchema = z.strictObject({
  domains: z
    .array(z.string().regex(dnsName(), { error: "expected a DNS name" }))
    .min(1)
    .max(100)
    .meta({ description: "DNS names of the certificate; the endpoint is reached under them on port 443" }),
  email: z
    .string()
    .min(3)
    .max(254)
    .optional()
    .meta({ description: "Where the CA writes to about the account" }),
  tos_accepted: z.boolean().meta({ description: "`true`: the CA's terms of service are agreed to" }),
  directory_url: endpointUrl()
    .prefault("https://acme-v02.api.letsencrypt.org/directory")
    .meta({ description: "ACME directory (RFC 8555 §7.1.1)" }),
  directory_ca_file: kind.path("file").optional().meta({
    description: "PEM file of CAs that the directory's certificate may chain to, beside public ones",
  }),
});

const bundleEndpointSchema = z.strictObject({
  listen: kind.hostPort().meta({ description: "Address of the bundle endpoint, its own port" }),
  profile: z.enum(["https_spiffe", "https_web"]).meta({
    description:
      "How the endpoint proves itself: by the server's own X509-SVID, or by a certificate of the web (SPIFFE Federation §5.2)",
  }),
  refresh_hint: kind
    .lifetime("5s", "24h")
    .prefault("5m")
    .meta({ description: "How long consumers should wait between refreshes, `spiffe_refresh_hint`" }),
  certificate_file: kind
    .path("file")
    .optional()
    .meta({ description: "PEM certificate chain of `https_web`, leaf first; read again when it changes" }),
  key_file: kind.path("file").optional().meta({ description: "PEM private key of `certificate_file`" }),
  acme: acmeSchema.optional().meta({
    description: "Gets and renews the certificate of `https_web` by ACME, with the challenge TLS-ALPN-01",
  }),
});

const relationshipSchema = z.strictObject({
  trust_domain: kind.trustDomain().meta({ description: "Foreign trust domain" }),
  bundle_endpoint_url: endpointUrl().meta({ description: "Where its bundle is fetched" }),
  bundle_endpoint_profile: z
    .enum(["https_web", "https_spiffe"])
    .meta({ description: "How the endpoint proves itself" }),
  endpoint_spiffe_id: kind
    .spiffeId()
    .optional()
    .meta({ description: "SPIFFE ID of the endpoint, for `https_spiffe`" }),
  bundle_file: z
    .string()
    .refine((path) => path.startsWith("/"), { error: "expected an absolute path" })
    .max(4096)
    .optional()
    .meta({
      description:
        "Absolute path of a bundle to begin with, SPIFFE JSON or PEM; read only while there is no bundle of the trust domain",
    }),
});

/** Federation: the own bundle endpoint, and the relationships that are configured. */
export const federationSchema = z.strictObject({
  bundle_endpoint: bundleEndpointSchema
    .optional()
    .meta({ description: "Serves the own bundle to foreign trust domains; off where absent" }),
  federates_with: z
    .array(relationshipSchema)
    .max(10_000)
    .prefault([])
    .meta({ description: "Relationships, each in place of a stored one with the same trust domain" }),
  trusted_ca_file: kind
    .path("file")
    .optional()
    .meta({ description: "PEM file of CAs that `https_web` endpoints may chain to, beside public ones" }),
  allowed_addresses: z.array(addressBlock()).max(1000).prefault([]).meta({
    description:
      "Addresses that bundles may be fetched from beside public ones, such as `10.0.0.0/8`; private ones are refused otherwise",
  }),
  follow_redirects: z
    .boolean()
    .default(true)
    .meta({ description: "Whether endpoints may redirect, each time and never for good" }),
});

/** What a schema cannot say: how keys of federation fit together and with the rest. */
export function federationProblems(parsed: {
  readonly trust_domain: string;
  readonly listen: HostPort;
  readonly web_listen: HostPort;
  readonly federation?: z.output<typeof federationSchema> | undefined;
}): readonly ConfigProblem[] {
  const { federation } = parsed;
  if (federation === undefined) return [];
  const problems: ConfigProblem[] = [];
  const problem = (path: readonly PropertyKey[], text: string) =>
    problems.push({ path: ["federation", ...path], text });
  const endpoint = federation.bundle_endpoint;
  if (endpoint !== undefined) endpointProblems(endpoint, [parsed.listen, parsed.web_listen], problem);
  for (const [at, one] of federation.federates_with.entries()) {
    const path = ["federates_with", at];
    const needsId = one.bundle_endpoint_profile === "https_spiffe";
    if (needsId && one.endpoint_spiffe_id === undefined) {
      problem(
        [...path, "endpoint_spiffe_id"],
        "is missing, https_spiffe needs the SPIFFE ID of the endpoint",
      );
    }
    if (!needsId && one.endpoint_spiffe_id !== undefined) {
      problem([...path, "endpoint_spiffe_id"], "is for https_spiffe only (remove it)");
    }
    if (one.trust_domain === parsed.trust_domain) {
      problem([...path, "trust_domain"], "expected a foreign trust domain, got the own (remove it)");
    }
    if (federation.federates_with.findIndex(({ trust_domain }) => trust_domain === one.trust_domain) < at) {
      problem(
        [...path, "trust_domain"],
        `expected each trust domain once, got ${one.trust_domain} twice (remove one)`,
      );
    }
  }
  return problems;
}

function endpointProblems(
  endpoint: z.output<typeof bundleEndpointSchema>,
  others: readonly HostPort[],
  problem: (path: readonly PropertyKey[], text: string) => void,
): void {
  const { listen, profile, certificate_file, key_file, acme } = endpoint;
  if (listen.port !== 0 && others.some(({ host, port }) => host === listen.host && port === listen.port)) {
    problem(["bundle_endpoint", "listen"], "expected an address of its own (choose another port)");
  }
  const hasFiles = certificate_file !== undefined || key_file !== undefined;
  if (profile === "https_spiffe" && (hasFiles || acme !== undefined)) {
    problem(
      ["bundle_endpoint", "profile"],
      "expected https_web where there are certificate files or acme; https_spiffe shows the server's own X509-SVID",
    );
  }
  if (
    profile === "https_web" &&
    (certificate_file === undefined || key_file === undefined) &&
    acme === undefined
  ) {
    problem(["bundle_endpoint"], "https_web needs certificate_file and key_file, or acme");
  }
  if (hasFiles && acme !== undefined) {
    problem(["bundle_endpoint", "acme"], "expected either certificate files or acme (remove one)");
  }
  if (acme !== undefined && !acme.tos_accepted) {
    problem(
      ["bundle_endpoint", "acme", "tos_accepted"],
      "expected true, without which no CA makes a certificate",
    );
  }
}

function endpointUrl() {
  return z
    .string()
    .max(2048)
    .transform((text, context): string => {
      try {
        return parseHttpsUrl(text);
      } catch (error) {
        const reason = error instanceof AssayError ? error.detail : "URL is malformed";
        context.addIssue({ code: "custom", message: `expected an https URL (${reason})` });
        return z.NEVER;
      }
    });
}

function addressBlock() {
  return z
    .string()
    .max(64)
    .transform((text, context): AddressBlock => {
      try {
        return parseAddressBlock(text);
      } catch {
        context.addIssue({ code: "custom", message: "expected addresses such as 10.0.0.0/8 or fd00::/8" });
        return z.NEVER;
      }
    });
}

// A function, since the schemas above are made while this module is evaluated.
function dnsName(): RegExp {
  return /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/;
}
