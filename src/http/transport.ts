import {
  createServer as createHttpServer,
  type RequestListener,
  type Server,
  type ServerOptions,
} from "node:http";
import { createServer as createHttpsServer, type ServerOptions as TlsServerOptions } from "node:https";
import { type Duplex } from "node:stream";
import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { PROBLEM_MEDIA_TYPE, httpStatusOf, problemOf } from "./problem.ts";

/**
 * Where requests come from: a port or socket with or without TLS that the application listens on itself, or sockets
 * that others accepted and hand over.
 */
export type HttpTransport =
  | { readonly kind: "plain" }
  | { readonly kind: "tls"; readonly tls: TlsServerOptions }
  | { readonly kind: "handed-over" };

/** Bounds on what a caller may send before anyone looks at it. Times in milliseconds, sizes in bytes. */
export interface HttpLimits {
  /** 1 MiB unless said otherwise. */
  readonly bodyBytes?: number;
  /** All headers of a request together; 16 KiB unless said otherwise. */
  readonly headerBytes?: number;
  /** Until the headers are there; 10 s unless said otherwise. */
  readonly headersTimeout?: number;
  /** Until the whole request is there; 30 s unless said otherwise. */
  readonly requestTimeout?: number;
  /** How long an idle connection is kept; 60 s unless said otherwise. */
  readonly keepAliveTimeout?: number;
}

/** Makes the server of a transport around a handler, with the limits that hold before the handler is asked. */
export function createTransport(
  transport: HttpTransport,
  limits: HttpLimits,
  requestId: () => string,
  handler: RequestListener,
): Server {
  const headersTimeout = limits.headersTimeout ?? 10_000;
  const options: ServerOptions = {
    maxHeaderSize: limits.headerBytes ?? 16 * 1024,
    headersTimeout,
    requestTimeout: limits.requestTimeout ?? 30_000,
    keepAliveTimeout: limits.keepAliveTimeout ?? 60_000,
    connectionsCheckingInterval: Math.min(1000, headersTimeout),
    requireHostHeader: true,
  };
  const server =
    transport.kind === "tls"
      ? createHttpsServer({ ...transport.tls, ...options }, handler)
      : createHttpServer(options, handler);
  server.maxHeadersCount = 100;
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => refuse(error, socket, requestId()));
  // Node begins to watch for slow senders when a server listens, which one that is handed its sockets never does.
  if (transport.kind === "handed-over") server.emit("listening");
  return server;
}

// What Node's parser refuses never reaches the application; the caller gets the same kind of answer all the same.
function refuse(error: NodeJS.ErrnoException, socket: Duplex, requestId: string): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const { code, detail } = PARSER_CODES.get(error.code ?? "") ?? NOT_HTTP;
  const refusal = new AssayError(code, detail);
  const body = JSON.stringify(problemOf(refusal, requestId));
  const head = [
    `HTTP/1.1 ${httpStatusOf(refusal)} Refused`,
    `content-type: ${PROBLEM_MEDIA_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}

const NOT_HTTP: { readonly code: ErrorCode; readonly detail: string } = {
  code: "INVALID_REQUEST",
  detail: "this is not an HTTP/1.1 request",
};
const PARSER_CODES = new Map<string, { readonly code: ErrorCode; readonly detail: string }>([
  ["HPE_HEADER_OVERFLOW", { code: "HEADERS_TOO_LARGE", detail: "the headers are larger than allowed" }],
  ["ERR_HTTP_REQUEST_TIMEOUT", { code: "REQUEST_TIMEOUT", detail: "the request did not arrive in time" }],
]);
