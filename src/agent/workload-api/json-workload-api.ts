import type { FastifyReply, FastifyRequest } from "fastify";
import type { Socket } from "node:net";
import { type Clock, systemClock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { createHttpApp, type HttpApp } from "../../http/http-app.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { serverSentEvents } from "../../http/server-sent-events.ts";
import { type Log, silentLog } from "../../observe/log.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import { refuseCrossProtocol } from "./json-guard.ts";
import {
  healthSchema,
  jwtBundlesSchema,
  jwtSvidRequestSchema,
  jwtSvidsSchema,
  validatedSchema,
  validateRequestSchema,
  x509BundlesSchema,
  x509SvidsSchema,
} from "./json-schemas.ts";
import { jwtSvidsJson, x509BundlesJson, x509SvidsJson } from "./json-values.ts";
import { jwksText } from "./jwks-bytes.ts";
import { requireSecurityHeader, SECURITY_HEADER } from "./security-header.ts";
import type { WorkloadCall } from "./workload-call.ts";
import type { WorkloadService } from "./workload-service.ts";

/** What the JSON face needs. */
export interface JsonWorkloadApiOptions {
  readonly service: WorkloadService;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** A new request id: a UUID. */
  readonly newId: () => string;
  /** Whether workloads are answered. */
  readonly isReady: () => boolean;
}

/** The Workload API as JSON over HTTP/1.1, on connections that are handed over. */
export interface JsonWorkloadApi extends AsyncDisposable {
  /** Serves a connection of this process. */
  serve(socket: Socket, peer: PeerProcess): void;
  /** The OpenAPI document. */
  openapi(): Promise<object>;
}

/** Makes the JSON face of the Workload API: the same decisions as over gRPC, with PEM for shell scripts. */
export async function createJsonWorkloadApi(options: JsonWorkloadApiOptions): Promise<JsonWorkloadApi> {
  const peers = new WeakMap<Socket, PeerProcess>();
  const app = await createHttpApp({
    log: options.log,
    clock: options.clock,
    transport: { kind: "handed-over" },
    openapi: {
      title: "Assay agent: Workload API as JSON",
      version: options.version,
      description: DESCRIPTION,
    },
    requestId: options.newId,
    limits: { bodyBytes: MAX_BODY },
  });
  app.routes.addHook("onRequest", async (request) => refuseCrossProtocol(request));
  const callOf = (request: FastifyRequest, reply: FastifyReply): WorkloadCall => {
    requireSecurityHeader(request.headers[SECURITY_HEADER]);
    const caller = peers.get(request.socket);
    if (caller === undefined)
      throw new AssayError("CALLER_NOT_IDENTIFIED", "the connection has no known caller");
    const gone = new AbortController();
    const abort = () => gone.abort(new AssayError("CANCELLED", "the caller has gone"));
    reply.raw.once("close", abort);
    app.closing.addEventListener(
      "abort",
      () => gone.abort(new AssayError("SHUTTING_DOWN", "the agent is shutting down")),
      { signal: gone.signal },
    );
    return { caller, method: `${request.method} ${request.routeOptions.url ?? ""}`, signal: gone.signal };
  };
  addX509Routes(app, options, callOf);
  addJwtRoutes(app.routes, options, callOf);
  addPublicRoutes(app, options);
  await app.routes.ready();
  return {
    serve(socket, peer) {
      peers.set(socket, peer);
      app.serve(socket);
    },
    openapi: () => app.openapi(),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}

/** The OpenAPI document of the agent's JSON face, without an agent, for the documentation. */
export async function buildAgentOpenApi(version: string): Promise<object> {
  await using app = await createJsonWorkloadApi({
    // Routes are described and never called.
    service: undefined as never,
    clock: systemClock,
    log: silentLog,
    version,
    newId: () => "",
    isReady: () => false,
  });
  return await app.openapi();
}

type CallOf = (request: FastifyRequest, reply: FastifyReply) => WorkloadCall;

function addX509Routes(app: HttpApp, { service, clock }: JsonWorkloadApiOptions, callOf: CallOf): void {
  app.routes.route({
    method: "GET",
    url: "/v1/x509-svids",
    schema: {
      summary: "All X509-SVIDs of the caller, with keys and bundles",
      response: { 200: x509SvidsSchema, ...WORKLOAD_PROBLEMS },
    },
    handler: async (request, reply) =>
      x509SvidsJson(await firstOf(service.watchX509Svids(callOf(request, reply)))),
  });
  app.routes.route({
    method: "GET",
    url: "/v1/x509-svids/watch",
    schema: {
      summary: "The same as server-sent events: the complete state now and after each change",
      description: "Each event is named `x509-svids` and holds what `GET /v1/x509-svids` answers.",
      produces: ["text/event-stream"],
    },
    exposeHeadRoute: false,
    handler: async (request, reply) => {
      const call = callOf(request, reply);
      const states = service.watchX509Svids(call);
      // Refusals come as an ordinary problem document, so the first state is waited for before the stream begins.
      const first = await states.next();
      await serverSentEvents(
        reply,
        async function* () {
          yield { event: "x509-svids", data: x509SvidsJson(first.value) };
          for await (const state of states) yield { event: "x509-svids", data: x509SvidsJson(state) };
        },
        { clock, signal: app.closing },
      );
    },
  });
  app.routes.route({
    method: "GET",
    url: "/v1/x509-bundles",
    schema: {
      summary: "X.509 authorities that the caller may trust",
      response: { 200: x509BundlesSchema, ...WORKLOAD_PROBLEMS },
    },
    handler: async (request, reply) => {
      return x509BundlesJson(await firstOf(service.watchBundles(callOf(request, reply), "x509")));
    },
  });
}

function addJwtRoutes(routes: HttpRoutes, { service }: JsonWorkloadApiOptions, callOf: CallOf): void {
  routes.route({
    method: "POST",
    url: "/v1/jwt-svids",
    schema: {
      summary: "JWT-SVIDs for an audience",
      body: jwtSvidRequestSchema,
      response: { 200: jwtSvidsSchema, ...WORKLOAD_PROBLEMS },
    },
    handler: async (request, reply) => {
      const { audience, spiffe_id = "" } = request.body;
      return jwtSvidsJson(await service.fetchJwtSvids(callOf(request, reply), audience, spiffe_id));
    },
  });
  routes.route({
    method: "POST",
    url: "/v1/jwt-svids/validate",
    schema: {
      summary: "Validates a JWT-SVID in the caller's place",
      body: validateRequestSchema,
      response: { 200: validatedSchema, ...WORKLOAD_PROBLEMS },
    },
    handler: async (request, reply) => {
      const { audience, svid } = request.body;
      const { spiffeId, claims } = await service.validateJwtSvid(callOf(request, reply), audience, svid);
      return { spiffe_id: spiffeId, claims: { ...claims } };
    },
  });
  routes.route({
    method: "GET",
    url: "/v1/jwt-bundles",
    schema: {
      summary: "JWT keys that the caller may trust, as JWK Sets",
      response: { 200: jwtBundlesSchema, ...WORKLOAD_PROBLEMS },
    },
    handler: async (request, reply) => {
      const { bundles } = await firstOf(service.watchBundles(callOf(request, reply), "jwt"));
      const sets = bundles.map(
        (bundle) => [trustDomainUri(bundle.trustDomain), JSON.parse(jwksText(bundle)) as JwkSet] as const,
      );
      return { bundles: Object.fromEntries(sets) };
    },
  });
}

function addPublicRoutes(app: HttpApp, { isReady }: JsonWorkloadApiOptions): void {
  app.routes.route({
    method: "GET",
    url: "/live",
    schema: { summary: "Whether the agent runs", response: { 200: healthSchema } },
    handler: async () => ({ status: "ok" as const }),
  });
  app.routes.route({
    method: "GET",
    url: "/ready",
    schema: {
      summary: "Whether workloads are answered",
      response: { 200: healthSchema, 503: healthSchema },
    },
    handler: async (_request, reply) => {
      if (isReady()) return { status: "ok" as const };
      reply.code(503);
      return { status: "not_ready" as const };
    },
  });
  app.routes.route({
    method: "GET",
    url: "/openapi.json",
    schema: { hide: true },
    handler: async () => app.openapi(),
  });
}

/** The first item of a stream, which is then left. */
async function firstOf<Item>(items: AsyncGenerator<Item, never, undefined>): Promise<Item> {
  for await (const item of items) return item;
  throw new AssayError("INTERNAL", "the stream ended without an item");
}

interface JwkSet {
  [member: string]: unknown;
  keys: Record<string, unknown>[];
}

const MAX_BODY = 128 * 1024;
const WORKLOAD_PROBLEMS = problemResponses(
  "INVALID_REQUEST",
  "SECURITY_HEADER_MISSING",
  "INVALID_AUDIENCE",
  "INVALID_SPIFFE_ID",
  "INVALID_JWT_SVID",
  "CALLER_NOT_IDENTIFIED",
  "NO_IDENTITY_ISSUED",
  "NOT_READY",
  "OVERLOADED",
  "SERVER_UNAVAILABLE",
  "WORKLOAD_ATTESTATION_FAILED",
  "AUDIT_UNAVAILABLE",
);
const DESCRIPTION =
  "The SPIFFE Workload API for programs without gRPC, on the agent's Unix socket. Every request of /v1 carries the " +
  "header `workload.spiffe.io: true`; who calls is learned from the kernel, never from the request.";
