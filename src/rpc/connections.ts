import { type Http2Server, performServerHandshake, type ServerHttp2Session } from "node:http2";
import type { Duplex } from "node:stream";
import type { Server } from "@grpc/grpc-js";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { guardSession } from "./session-guard.ts";
import { type SessionOptions, sessionOptions } from "./session-options.ts";

/** The part of a socket that a connection's owner needs; the platform's HTTP/2 needs more and finds it. */
export interface RpcSocket {
  readonly destroyed: boolean;
  destroy(): unknown;
  once(event: "close", listener: () => void): unknown;
}

/**
 * The connections a server holds, with what their acceptor knew about each. The HTTP/2 sessions are opened here rather
 * than by the gRPC library, which lets nobody set the limits that a session needs and tells a handler nothing about
 * its session; the library serves the streams.
 */
export class Connections<Peer> {
  readonly #byKey = new Map<string, Connection<Peer>>();
  readonly #waiting: (() => void)[] = [];
  readonly #library: Http2Server;
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  #next = 0;

  /** @throws AssayError `INTERNAL` if the library is not built as this needs it. */
  constructor(library: Server, options: SessionOptions, clock: Clock) {
    this.#library = streamHandlerOf(library);
    this.#options = options;
    this.#clock = clock;
  }

  /** How many connections are open. */
  get size(): number {
    return this.#byKey.size;
  }

  /** Speaks HTTP/2 on a connection, and remembers it until it closes. */
  open(socket: RpcSocket, peer: Peer): void {
    const key = `connection-${++this.#next}`;
    this.#byKey.set(key, { socket, peer });
    socket.once("close", () => {
      this.#byKey.delete(key);
      if (this.#byKey.size > 0) return;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    const session = performServerHandshake(socket as Duplex, sessionOptions(this.#options));
    // The closing of the socket that follows is all that matters.
    session.on("error", ignore);
    this.#serve(session, key);
    guardSession(session, this.#options, this.#clock);
  }

  /** What is known of the connection that a call names as its host; undefined once it is closed. */
  peer(key: string): { readonly peer: Peer } | undefined {
    return this.#byKey.get(key);
  }

  /** Resolves when no connection is open. */
  drained(): Promise<void> {
    if (this.#byKey.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends all connections at once. */
  destroy(): void {
    for (const { socket } of this.#byKey.values()) socket.destroy();
  }

  #serve(session: ServerHttp2Session, key: string): void {
    session.on("stream", (stream, headers, flags, rawHeaders) => {
      // The one thing about a stream that the library hands to a handler and nobody else needs.
      headers[":authority"] = key;
      this.#library.emit("stream", stream, headers, flags, rawHeaders);
    });
    this.#library.emit("session", session);
  }
}

interface Connection<Peer> {
  readonly socket: RpcSocket;
  readonly peer: Peer;
}

/**
 * The HTTP/2 server to whose events the library listens. It keeps it to itself; a version that no longer has it under
 * this name is noticed when the first server is made.
 */
function streamHandlerOf(library: Server): Http2Server {
  const { http2Servers } = library as unknown as {
    readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
  };
  const [server] = http2Servers?.keys() ?? [];
  if (server === undefined || server.listenerCount("stream") !== 1) {
    throw new AssayError("INTERNAL", "the gRPC library must listen to the streams of an HTTP/2 server");
  }
  return server;
}

function ignore(): void {
  // Told by the closing of the connection.
}
