import type { Socket } from "node:net";
import type { Clock } from "../../clock.ts";
import { createHttpApp } from "../../http/http-app.ts";
import type { Log } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import { healthSchema } from "../workload-api/json-schemas.ts";
import { refuseCrossProtocol } from "../workload-api/json-guard.ts";

/** What the HTTP face of the admin socket needs. */
export interface AdminHttpOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
  /** A new request id: a UUID. */
  readonly newId: () => string;
  readonly isReady: () => boolean;
}

/** Makes the HTTP/1.1 face of the admin socket: metrics in Prometheus' text form, and health. */
export async function createAdminHttp(
  options: AdminHttpOptions,
): Promise<AsyncDisposable & { serve(socket: Socket): void }> {
  const { clock, log, metrics, newId, version, isReady } = options;
  const app = await createHttpApp({
    clock,
    log,
    transport: { kind: "handed-over" },
    openapi: { title: "Assay agent: admin socket", version },
    requestId: newId,
  });
  app.routes.addHook("onRequest", async (request) => refuseCrossProtocol(request));
  app.routes.route({
    method: "GET",
    url: "/metrics",
    handler: async (_request, reply) => {
      reply.type(metrics.contentType);
      return metrics.render();
    },
  });
  app.routes.route({
    method: "GET",
    url: "/live",
    schema: { response: { 200: healthSchema } },
    handler: async () => ({ status: "ok" as const }),
  });
  app.routes.route({
    method: "GET",
    url: "/ready",
    schema: { response: { 200: healthSchema, 503: healthSchema } },
    handler: async (_request, reply) => {
      if (isReady()) return { status: "ok" as const };
      reply.code(503);
      return { status: "not_ready" as const };
    },
  });
  await app.routes.ready();
  return { serve: (socket) => app.serve(socket), [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
}
