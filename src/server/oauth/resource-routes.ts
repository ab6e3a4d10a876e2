import { z } from "zod";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { RESOURCE_METADATA, taskResourceMetadata } from "./oauth-metadata.ts";

/** Adds the metadata of the task API as a protected resource (RFC 9728 §3), also where the issuer's path puts it. */
export function taskResourceRoutes(routes: HttpRoutes, issuer: string): void {
  const document = taskResourceMetadata(issuer);
  const { pathname } = new URL(document.resource);
  for (const url of new Set([`${RESOURCE_METADATA}/v1/task`, `${RESOURCE_METADATA}${pathname}`])) {
    routes.get(
      url,
      {
        schema: {
          tags: ["task"],
          summary: "Metadata of the task API as a protected resource",
          hide: url !== `${RESOURCE_METADATA}/v1/task`,
          response: { 200: resourceSchema },
        },
      },
      async (_request, reply) => {
        reply.headers({
          "access-control-allow-origin": "*",
          "cross-origin-resource-policy": "cross-origin",
        });
        return document;
      },
    );
  }
}

const resourceSchema = z
  .object({
    resource: z.string().describe("The audience of its tokens"),
    authorization_servers: z.array(z.string()),
    scopes_supported: z.array(z.string()),
    bearer_methods_supported: z.array(z.string()).describe("Always empty: tokens are bound to a key"),
    dpop_signing_alg_values_supported: z.array(z.string()),
    dpop_bound_access_tokens_required: z.boolean(),
    resource_name: z.string(),
  })
  .meta({ id: "ProtectedResource", description: "RFC 9728 §2" });
