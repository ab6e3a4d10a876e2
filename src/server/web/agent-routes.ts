import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { NodeFilter, NodeRegistry } from "../../registry/nodes.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { NodeRecord } from "../../store/records.ts";
import type { AgentOperations } from "../operations/agent-operations.ts";
import { spiffeIdText, timeInput, timeOutput, timeText, timeTextOrNull } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";
import {
  flagQuery,
  nextPage,
  nextPageToken,
  pageRequestOf,
  pageQuery,
  selectorFilterOf,
  selectorQuery,
} from "./page-query.ts";

/** What the routes need. */
export interface AgentRoutesOptions {
  readonly registry: { readonly nodes: Pick<NodeRegistry, "get" | "list"> };
  readonly operations: Pick<AgentOperations, "evictAgent" | "banAgent" | "purgeAgents">;
}

/**
 * Adds the agents: list, read, ban, evict, purge. An agent's path holds its whole SPIFFE ID, percent-encoded, so that
 * an ID that was read anywhere else can be used as it is.
 */
export function agentRoutes(routes: HttpRoutes, options: AgentRoutesOptions, guard: OperatorGuard): void {
  const {
    registry: { nodes },
    operations,
  } = options;

  routes.get(
    "/v1/agents",
    {
      schema: {
        ...about("List agents"),
        querystring: listQuery,
        response: {
          200: z.object({ agents: z.array(agentSchema), next_page_token: nextPageToken }),
          ...problemResponses("INVALID_REQUEST", "INVALID_SELECTOR", "INVALID_PAGE_TOKEN", ...REFUSALS),
        },
      },
    },
    ({ query }) => {
      const page = nodes.list(filterOf(query), pageRequestOf(query));
      return { agents: page.items.map(agentToJson), ...nextPage(page) };
    },
  );

  routes.get(
    "/v1/agents/:id",
    { schema: { ...about("Read an agent"), params: agentParams, response: { 200: agentSchema, ...FAULTS } } },
    ({ params }) => {
      const id = parseSpiffeId(params.id);
      const node = nodes.get(id);
      if (node === undefined) throw new AssayError("AGENT_NOT_FOUND", `agent ${id} is not attested here`);
      return agentToJson(node);
    },
  );

  routes.put(
    "/v1/agents/:id/ban",
    {
      schema: {
        ...about("Ban an agent"),
        description: "Its SVID counts no longer and it may not attest again until it is evicted.",
        params: agentParams,
        response: { 200: agentSchema, ...FAULTS },
      },
    },
    async (request) =>
      agentToJson(await operations.banAgent(guard.callOf(request), parseSpiffeId(request.params.id))),
  );

  routes.delete(
    "/v1/agents/:id",
    {
      schema: {
        ...about("Evict an agent"),
        description: "It is forgotten, a ban included, and may attest again.",
        params: agentParams,
        response: { 204: z.null().describe("It is gone"), ...FAULTS },
      },
    },
    async (request, reply) => {
      await operations.evictAgent(guard.callOf(request), parseSpiffeId(request.params.id));
      return reply.code(204).send(null);
    },
  );

  routes.post(
    "/v1/agents/purge",
    {
      schema: {
        ...about("Forget agents whose SVID has expired"),
        description: "Banned agents stay.",
        body: purgeSchema,
        response: {
          200: z.object({ purged: z.array(z.string()).describe("SPIFFE IDs of the agents") }),
          ...problemResponses("INVALID_REQUEST", "AUDIT_UNAVAILABLE", ...REFUSALS),
        },
      },
    },
    async (request) => {
      const { expired_before: expiredBefore, include_not_reattestable: includeNotReattestable } =
        request.body;
      const order = { expiredBefore, includeNotReattestable };
      return { purged: [...(await operations.purgeAgents(guard.callOf(request), order))] };
    },
  );
}

function filterOf(query: z.output<typeof listQuery>): NodeFilter {
  return {
    attestationType: query.attestation_type,
    banned: query.banned,
    canReattest: query.can_reattest,
    expiresBefore: query.expires_before,
    selectors: selectorFilterOf(query),
  };
}

function agentToJson(node: NodeRecord): z.output<typeof agentSchema> {
  return {
    id: node.id,
    attestation_type: node.attestationType,
    selectors: node.selectors.map(formatSelector),
    can_reattest: node.canReattest,
    banned: node.banned,
    serial: node.serial,
    expires_at: timeTextOrNull(node.expiresAt),
    attested_at: timeText(node.attestedAt),
    agent_version: node.agentVersion,
  };
}

function about(summary: string) {
  return { tags: ["agents"], summary };
}

const agentSchema = z
  .object({
    id: z.string().describe("The agent's SPIFFE ID"),
    attestation_type: z.string().describe("Name of the node attestor"),
    selectors: z.array(z.string()).describe("What attestation found, `type:value`"),
    can_reattest: z.boolean().describe("Whether the same evidence may be shown again"),
    banned: z.boolean(),
    serial: z.string().describe("Serial number of its X509-SVID in lower-case hex; empty when banned"),
    expires_at: timeOutput.nullable().describe("When that SVID expires"),
    attested_at: timeOutput.describe("When it last attested"),
    agent_version: z.string().describe("As it last said itself; may be empty"),
  })
  .meta({ id: "AttestedAgent", description: "An agent whose node has attested" });

const agentParams = z.object({ id: spiffeIdText.describe("The agent's SPIFFE ID, percent-encoded") });

const listQuery = z.strictObject({
  attestation_type: z.string().min(1).max(255).optional().describe("Only agents of this node attestor"),
  banned: flagQuery.describe("Only agents that are, or are not, banned"),
  can_reattest: flagQuery.describe("Only agents that may, or may not, show their evidence again"),
  expires_before: timeInput.optional().describe("Only agents whose SVID expires before this time"),
  ...selectorQuery,
  ...pageQuery,
});

const purgeSchema = z
  .strictObject({
    expired_before: timeInput.describe("Agents whose SVID expired before this time"),
    include_not_reattestable: z
      .boolean()
      .default(false)
      .describe("Also agents that can come back with fresh evidence only"),
  })
  .meta({ id: "PurgeRequest", description: "Which agents to forget" });

const REFUSALS = [
  "CALLER_NOT_IDENTIFIED",
  "AUTHORIZATION_DENIED",
  "RATE_LIMITED",
  "STORE_UNAVAILABLE",
] as const;
const FAULTS = problemResponses(
  "INVALID_REQUEST",
  "INVALID_SPIFFE_ID",
  "AGENT_NOT_FOUND",
  "AUDIT_UNAVAILABLE",
  ...REFUSALS,
);
