/**
 * http/ — HTTP and JSON behind our own words: Fastify with zod schemas, problem documents, limits and event streams.
 *
 * Must never know what a route is for or who may call it; it knows requests, answers and errors.
 * Called by the server's web port and the agent's and server's sockets.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import fastifySwagger from "@fastify/swagger";
import Fastify from "fastify";
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { answerErrors, answerFault } from "./answer-errors.ts";
import type { HttpLog, HttpRoutes } from "./http-routes.ts";
import { requestFaultOf, requestValidator } from "./request-fault.ts";
import { createTransport, type HttpLimits, type HttpTransport } from "./transport.ts";

/** What an application needs. */
export interface HttpAppOptions {
  readonly clock: Clock;
  readonly log: HttpLog;
  readonly transport: HttpTransport;
  readonly openapi: { readonly title: string; readonly version: string; readonly description?: string };
  /** Makes a request id, a UUID. It is in the log and in every problem document. */
  readonly requestId: () => string;
  readonly limits?: HttpLimits;
  /** Milliseconds that running requests get when the application closes; 2 s unless said otherwise. */
  readonly closeGrace?: number;
}

/** An application to which routes are added and that then serves them. */
export interface HttpApp extends AsyncDisposable {
  /** Where routes, hooks and `inject` live. Add routes before the first request. */
  readonly routes: HttpRoutes;
  /** The server underneath, for `setSecureContext` and the like. */
  readonly server: Server;
  /** Aborted when the application begins to close: the sign for streams to end. */
  readonly closing: AbortSignal;
  /**
   * Serves a connection that somebody else accepted and that speaks HTTP/1.1. Bytes read from it already must have
   * been given back by `unshift`. The socket is `request.socket` in handlers.
   */
  serve(socket: Socket): void;
  /** The OpenAPI 3.1 document of all routes. */
  openapi(): Promise<object>;
}

/**
 * Makes an application. Every answer that is an error is a problem document (RFC 9457); every answer carries headers
 * that keep browsers from guessing, framing and storing it, which a route may override.
 *
 * Closing lets running requests end within `closeGrace`, then cuts their connections.
 */
export async function createHttpApp(options: HttpAppOptions): Promise<HttpApp> {
  const closing = new AbortController();
  const routes: HttpRoutes = Fastify({
    logger: false,
    genReqId: options.requestId,
    bodyLimit: options.limits?.bodyBytes ?? 1024 * 1024,
    // A request that comes while we close gets a problem document like any other, from the hook below.
    return503OnClosing: false,
    routerOptions: { caseSensitive: true, ignoreTrailingSlash: false, maxParamLength: MAX_PARAMETER },
    exposeHeadRoutes: true,
    frameworkErrors: (error, request, reply) => {
      reply.headers(SAFE_HEADERS);
      answerFault(requestFaultOf(error), request, reply, options.log);
    },
    serverFactory: (handler) =>
      createTransport(options.transport, options.limits ?? {}, options.requestId, handler),
  }).withTypeProvider<ZodTypeProvider>();
  routes.setValidatorCompiler(requestValidator);
  routes.setSerializerCompiler(serializerCompiler);
  answerErrors(routes, options.log);
  routes.addHook("onRequest", async (_request, reply) => {
    reply.headers(SAFE_HEADERS);
    if (closing.signal.aborted) {
      reply.header("connection", "close");
      throw new AssayError("SHUTTING_DOWN", "the server is shutting down");
    }
  });
  routes.addHook("onSend", async (request, reply) => {
    if (closing.signal.aborted) reply.header("connection", "close");
    // Fastify would have the connection closed where it refuses a body. A client that is still sending then finds it broken
    // before it has read why, so the rest is read and dropped, within the time that any request has.
    else if (!request.raw.complete) reply.removeHeader("connection");
  });
  const handedOver = new HandedOverSockets();
  routes.addHook("preClose", async () => {
    closing.abort();
    routes.server.closeIdleConnections();
    // Fastify waits for running requests without end, so the end is set before it begins to wait.
    options.clock.schedule(options.closeGrace ?? DEFAULT_GRACE, () => {
      routes.server.closeAllConnections();
      handedOver.destroy();
    });
  });
  routes.addHook("onClose", async () => {
    routes.server.close();
    await handedOver.allClosed();
  });
  await routes.register(fastifySwagger, {
    openapi: { openapi: "3.1.0", info: { description: "", ...options.openapi } },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
  let ready = false;
  const begin = (socket: Socket) => {
    routes.server.emit("connection", socket);
    // Whoever looked at the first bytes may have left the socket paused.
    if (socket.isPaused()) socket.resume();
  };
  routes.addHook("onReady", async () => void (ready = true));
  return {
    routes,
    server: routes.server,
    closing: closing.signal,
    serve(socket) {
      if (closing.signal.aborted) {
        socket.destroy();
        return;
      }
      handedOver.add(socket);
      if (ready) begin(socket);
      else void routes.ready().then(() => begin(socket));
    },
    async openapi() {
      await routes.ready();
      return routes.swagger();
    },
    [Symbol.asyncDispose]: () => routes.close(),
  };
}

/** A server does not count connections that it did not accept itself, so closing has to know them otherwise. */
class HandedOverSockets {
  readonly #sockets = new Set<Socket>();
  #waiting: (() => void) | undefined;

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#waiting?.();
    });
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async allClosed(): Promise<void> {
    if (this.#sockets.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = resolve;
    await promise;
  }
}

const DEFAULT_GRACE = 2000;
const MAX_PARAMETER = 2048;
const SAFE_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
} as const;
