import { z } from "zod";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { agentId } from "../../spiffe/reserved.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { AgentOperations } from "../operations/agent-operations.ts";
import { durationInput, spiffeIdText, timeOutput, timeText } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** What the route needs. */
export interface JoinTokenRoutesOptions {
  readonly trustDomain: TrustDomain;
  readonly operations: Pick<AgentOperations, "createJoinToken">;
}

/** Adds join tokens, which can be made and not be read again: the server keeps a hash. */
export function joinTokenRoutes(
  routes: HttpRoutes,
  options: JoinTokenRoutesOptions,
  guard: OperatorGuard,
): void {
  const { trustDomain, operations } = options;
  routes.post(
    "/v1/join-tokens",
    {
      schema: {
        tags: ["agents"],
        summary: "Make a join token",
        description: "The answer is the only place where the token is ever shown.",
        body: orderSchema,
        response: {
          201: tokenSchema,
          ...problemResponses(
            "INVALID_REQUEST",
            "INVALID_SPIFFE_ID",
            "CALLER_NOT_IDENTIFIED",
            "AUTHORIZATION_DENIED",
            "RATE_LIMITED",
            "AUDIT_UNAVAILABLE",
            "STORE_UNAVAILABLE",
          ),
        },
      },
    },
    async (request, reply) => {
      const { ttl, spiffe_id } = request.body;
      const order = { ttl, ...(spiffe_id !== undefined && { aliasId: parseSpiffeId(spiffe_id) }) };
      const { token, expiresAt } = await operations.createJoinToken(guard.callOf(request), order);
      return reply.code(201).send({
        token,
        expires_at: timeText(expiresAt),
        agent_id: agentId(trustDomain, "join_token", token),
      });
    },
  );
}

const orderSchema = z
  .strictObject({
    ttl: durationInput({ min: 1, max: 30 * 86_400 })
      .default(600)
      .describe(
        "How long the token may be used: seconds or e.g. `10m`, at most 30 days; 10 minutes by default",
      ),
    spiffe_id: spiffeIdText.optional().describe("A SPIFFE ID that the node is to have besides its own"),
  })
  .meta({ id: "JoinTokenOrder", description: "A join token to make" });

const tokenSchema = z
  .object({
    token: z.string().describe("The join token: a secret that admits one agent, once"),
    expires_at: timeOutput,
    agent_id: z.string().describe("The SPIFFE ID that the agent will have"),
  })
  .meta({ id: "JoinToken", description: "A join token" });
