import { z } from "zod";
import { type Clock, unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { Metrics } from "../../observe/metrics.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** What the route needs. */
export interface MetricsRoutesOptions {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, "render" | "contentType">;
  /**
   * Who may read the metrics beside operators: these SPIFFE IDs, or anyone. A monitor needs no administrator's SVID
   * then.
   */
  readonly metricsReaders: "anyone" | ReadonlySet<SpiffeId>;
}

/** Adds `GET /metrics` in Prometheus' text format. */
export function metricsRoutes(routes: HttpRoutes, options: MetricsRoutesOptions, guard: OperatorGuard): void {
  const { clock, metrics, metricsReaders } = options;
  routes.get(
    "/metrics",
    {
      schema: {
        tags: ["health"],
        summary: "Metrics for Prometheus",
        response: {
          200: {
            description: "Prometheus text format 0.0.4",
            content: { "text/plain": { schema: z.string() } },
          },
          ...problemResponses("CALLER_NOT_IDENTIFIED", "AUTHORIZATION_DENIED"),
        },
      },
    },
    async (request, reply) => {
      if (metricsReaders !== "anyone" && !guard.isOperator(request)) {
        const id = guard.currentId(request, unixSeconds(clock));
        if (id === undefined)
          throw new AssayError("CALLER_NOT_IDENTIFIED", "metrics need a client X509-SVID");
        if (!metricsReaders.has(id))
          throw new AssayError("AUTHORIZATION_DENIED", "the caller may not read the metrics");
      }
      const text = await metrics.render();
      return reply.type(metrics.contentType).send(text);
    },
  );
}
