import type { FastifyReply } from "fastify";
import { z } from "zod";
import { jwkSet, type PublicJwk } from "../../crypto/jose/jwk.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { hostName, requireHost } from "./host-check.ts";

/** How the server appears to OpenID Connect relying parties. */
export interface OidcOptions {
  /** The `iss` of JWT-SVIDs, an https URL; without it the issuer is `https://` and the name that was asked for. */
  readonly issuer?: string;
  /** Names under which discovery is served besides the issuer's own. */
  readonly domains: readonly string[];
  /** Where relying parties find the keys, if not at the issuer's `/keys`. */
  readonly jwksUri?: string;
}

/** Members of the documents that are about the OAuth endpoints (RFC 8414 §2). */
export type OAuthMetadata = z.output<typeof oauthMembers>;

/** What the routes need. */
export interface OidcRoutesOptions {
  /** Absent where the server has no OIDC face. */
  readonly oidc?: OidcOptions;
  /** What both documents say of the OAuth endpoints; absent where there are none. */
  readonly oauthMetadata?: OAuthMetadata | undefined;
  readonly signing: { bundle(): SpiffeBundle };
}

/**
 * Adds OIDC discovery and its JWK set (`/keys`), for relying parties that verify JWT-SVIDs as ID tokens (OpenID Connect
 * Discovery 1.0 §4; RFC 7517 §5). The document is at `/.well-known/openid-configuration` and, for those who look where
 * RFC 8414 §3 says, at `/.well-known/oauth-authorization-server`; where the issuer has a path, also where each of the
 * two standards puts it then. Only JWT authorities are in the set.
 */
export function oidcRoutes(routes: HttpRoutes, options: OidcRoutesOptions): void {
  const { oidc, signing, oauthMetadata } = options;
  const names = new Set(oidc === undefined ? [] : servedNames(oidc));

  function servedOidc(host: string | undefined): OidcOptions {
    if (oidc === undefined || names.size === 0)
      throw new AssayError("NOT_FOUND", "there is no OIDC face here");
    requireHost(host, names);
    return oidc;
  }

  const path = oidc?.issuer === undefined ? "" : new URL(oidc.issuer).pathname.replace(/\/$/, "");
  const places = (root: string, below: string) => [...new Set([root, below])];

  for (const [root, below, summary] of [
    [OPENID, `${path}${OPENID}`, "OpenID Connect discovery document"],
    [OAUTH, `${OAUTH}${path}`, "OAuth authorization server metadata (RFC 8414)"],
  ] as const) {
    for (const url of places(root, below)) {
      routes.get(url, { schema: documentSchema(summary, url !== root) }, (request, reply) => ({
        ...document(request, reply),
        // OpenID Connect demands the member of everybody (Discovery §3); RFC 8414 §2 of those who have the endpoint, and
        // its clients refuse to read an empty one.
        ...(root === OPENID && { authorization_endpoint: "" }),
      }));
    }
  }
  for (const url of places(KEYS, `${path}${KEYS}`)) {
    routes.get(url, { schema: keysSchema(url !== KEYS) }, keys);
  }

  function document({ headers: { host } }: WithHost, reply: FastifyReply) {
    const { issuer = `https://${hostName(host)}${portOf(host)}`, jwksUri } = servedOidc(host);
    openToPages(reply);
    return {
      issuer,
      jwks_uri: jwksUri ?? `${issuer.replace(/\/$/, "")}/keys`,
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256", "ES256", "ES384"],
      ...oauthMetadata,
    };
  }

  function keys({ headers: { host } }: WithHost, reply: FastifyReply) {
    servedOidc(host);
    const authorities = signing.bundle().jwtAuthorities;
    // An empty set would be kept by relying parties as the truth.
    if (authorities.length === 0) throw new AssayError("NOT_READY", "there is no JWT authority yet");
    const set = jwkSet(
      authorities.map(({ keyId, publicKey }) => ({ keyId, spki: publicKey })),
      "sig",
    );
    openToPages(reply);
    return { keys: set.keys.map((key) => ({ ...key, alg: algorithmOf(key) })) };
  }
}

interface WithHost {
  readonly headers: { readonly host?: string | undefined };
}

// The places below an issuer's path depend on the configuration, so the description of the API leaves them out.
function documentSchema(summary: string, hide: boolean) {
  return {
    tags: ["oidc"],
    summary,
    hide,
    response: { 200: discoverySchema, ...problemResponses("INVALID_REQUEST", "NOT_FOUND") },
  };
}

function keysSchema(hide: boolean) {
  return {
    tags: ["oidc"],
    summary: "JWK set of the JWT authorities",
    hide,
    response: { 200: jwksSchema, ...problemResponses("INVALID_REQUEST", "NOT_FOUND", "NOT_READY") },
  };
}

// Both documents are public and say nothing about the reader, so pages of any origin may read them. They are not
// stored: a key that was added or revoked must be seen by the next reader.
function openToPages(reply: FastifyReply): void {
  reply.headers({
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "no-cache, no-store, must-revalidate",
    pragma: "no-cache",
    expires: "0",
  });
}

function servedNames({ issuer, domains }: OidcOptions): readonly string[] {
  const own = issuer === undefined ? [] : [new URL(issuer).hostname];
  return [...own, ...domains].map((name) => name.toLowerCase());
}

function portOf(host = ""): string {
  const port = /:(\d+)$/.exec(host)?.[1] ?? "443";
  return port === "443" ? "" : `:${port}`;
}

function algorithmOf(key: PublicJwk): string {
  if (key.kty === "RSA") return "RS256";
  switch (key.crv) {
    case "P-256":
      return "ES256";
    case "P-384":
      return "ES384";
    case "P-521":
      return "ES512";
  }
}

const OPENID = "/.well-known/openid-configuration";
const OAUTH = "/.well-known/oauth-authorization-server";
const KEYS = "/keys";

const names = z.array(z.string()).optional();

const oauthMembers = z.object({
  token_endpoint: z.string().optional().describe("These members only where there are OAuth endpoints"),
  token_endpoint_auth_methods_supported: names,
  grant_types_supported: names,
  introspection_endpoint: z.string().optional(),
  introspection_endpoint_auth_methods_supported: names,
  revocation_endpoint: z.string().optional(),
  revocation_endpoint_auth_methods_supported: names,
  dpop_signing_alg_values_supported: names,
  tls_client_certificate_bound_access_tokens: z.boolean().optional(),
  scopes_supported: names,
  protected_resources: names,
  status_list_aggregation_endpoint: z.string().optional(),
});

const discoverySchema = z
  .object({
    issuer: z.string().describe("The `iss` of JWT-SVIDs, byte for byte"),
    jwks_uri: z.string().describe("Where the JWK set is"),
    authorization_endpoint: z
      .string()
      .optional()
      .describe("Empty in the document of OpenID Connect, absent in that of RFC 8414: nobody signs in here"),
    response_types_supported: z.array(z.string()),
    subject_types_supported: z.array(z.string()),
    id_token_signing_alg_values_supported: z.array(z.string()),
    ...oauthMembers.shape,
  })
  .meta({ id: "OidcDiscovery", description: "OpenID Connect Discovery 1.0 §3" });

const jwksSchema = z
  .object({
    keys: z.array(
      z.object({
        kty: z.string(),
        kid: z.string().optional(),
        use: z.string().optional(),
        alg: z.string(),
        crv: z.string().optional(),
        x: z.string().optional(),
        y: z.string().optional(),
        n: z.string().optional(),
        e: z.string().optional(),
      }),
    ),
  })
  .meta({ id: "JwkSet", description: "RFC 7517 §5" });
