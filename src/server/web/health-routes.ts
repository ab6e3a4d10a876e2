import { z } from "zod";
import type { HttpRoutes } from "../../http/http-routes.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** How the server is, as it knows without waiting for anything. */
export interface ServerHealth {
  /** Whether the process works at all; if not, it should be restarted. */
  readonly live: boolean;
  /** Whether it can do its work now. */
  readonly ready: boolean;
  readonly checks: readonly HealthCheck[];
}

/** One part of the server and how it is. */
export interface HealthCheck {
  /** A short constant name, e.g. `store`. */
  readonly name: string;
  readonly ok: boolean;
  /** What is wrong, for operators. */
  readonly detail?: string;
}

/** What the routes need. */
export interface HealthRoutesOptions {
  readonly health: () => ServerHealth;
}

/** Adds `GET /live` and `GET /ready`: 200 or 503, with the checks in both cases. Their details are for operators. */
export function healthRoutes(routes: HttpRoutes, options: HealthRoutesOptions, guard: OperatorGuard): void {
  for (const [url, key, summary] of [
    ["/live", "live", "Whether the process works"],
    ["/ready", "ready", "Whether the server can do its work now"],
  ] as const) {
    routes.get(
      url,
      { schema: { tags: ["health"], summary, response: { 200: healthSchema, 503: healthSchema } } },
      async (request, reply) => {
        const { checks, [key]: ok } = options.health();
        const isOperator = guard.isOperator(request);
        return reply.code(ok ? 200 : 503).send({
          status: ok ? "ok" : "unavailable",
          checks: checks.map(({ name, ok: good, detail }) => ({
            name,
            ok: good,
            ...(isOperator && detail !== undefined && { detail }),
          })),
        });
      },
    );
  }
}

const healthSchema = z
  .object({
    status: z.enum(["ok", "unavailable"]),
    checks: z.array(
      z.object({
        name: z.string().describe("The part of the server"),
        ok: z.boolean(),
        detail: z.string().optional().describe("What is wrong; shown to operators only"),
      }),
    ),
  })
  .meta({ id: "ServerHealth", description: "How the server is" });
