import { DPOP_ALGORITHMS } from "../../crypto/jose/dpop.ts";
import { taskAudience } from "../../issuance/token-exchange/exchange-options.ts";
import { TASK_SCOPE } from "../../issuance/token-exchange/task-token.ts";
import type { OAuthMetadata } from "../web/oidc-routes.ts";
import { CLIENT_METHODS } from "./client-credential.ts";

/** Names of grants. */
export const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
export const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
export const CLIENT_CREDENTIALS = "client_credentials";

/** What is switched on. */
export interface OAuthFeatures {
  readonly issuer: string;
  /** Whether tasks can be opened. */
  readonly tasks: boolean;
  readonly witSvids: boolean;
  /** Where the addresses of all status lists are listed (Token Status List §9.3), if anywhere. */
  readonly statusListAggregation?: string | undefined;
}

/** The members of the authorization server's metadata (RFC 8414 §2) that are about these endpoints. */
export function oauthMetadata(features: OAuthFeatures): OAuthMetadata {
  const base = features.issuer.replace(/\/$/, "");
  const methods = CLIENT_METHODS.filter((method) => method !== "spiffe_wit" || features.witSvids);
  const { statusListAggregation } = features;
  return {
    token_endpoint: `${base}/oauth2/token`,
    token_endpoint_auth_methods_supported: ["none", ...methods],
    grant_types_supported: [TOKEN_EXCHANGE, JWT_BEARER, CLIENT_CREDENTIALS],
    introspection_endpoint: `${base}/oauth2/introspect`,
    introspection_endpoint_auth_methods_supported: methods,
    revocation_endpoint: `${base}/oauth2/revoke`,
    revocation_endpoint_auth_methods_supported: ["none", ...methods],
    dpop_signing_alg_values_supported: [...DPOP_ALGORITHMS],
    tls_client_certificate_bound_access_tokens: true,
    ...(features.tasks && {
      scopes_supported: [TASK_SCOPE],
      protected_resources: [taskAudience(features.issuer)],
    }),
    ...(statusListAggregation !== undefined && {
      status_list_aggregation_endpoint: statusListAggregation,
    }),
  };
}

/** What the task API says of itself to clients (RFC 9728 §2). */
export function taskResourceMetadata(issuer: string) {
  return {
    resource: taskAudience(issuer),
    authorization_servers: [issuer],
    scopes_supported: [TASK_SCOPE],
    bearer_methods_supported: [],
    dpop_signing_alg_values_supported: [...DPOP_ALGORITHMS],
    dpop_bound_access_tokens_required: true,
    resource_name: "Assay task API",
  };
}

/** Where that is found (RFC 9728 §3.1): between host and path of the resource. */
export function taskResourceMetadataUrl(issuer: string): string {
  const { origin, pathname } = new URL(taskAudience(issuer));
  return `${origin}${RESOURCE_METADATA}${pathname}`;
}

/** The well-known path, before that of the resource. */
export const RESOURCE_METADATA = "/.well-known/oauth-protected-resource";
