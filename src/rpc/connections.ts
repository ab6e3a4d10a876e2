import {
  constants,
  type Http2Server,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Duplex } from "node:stream";
import type { Server } from "@grpc/grpc-js";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { NumberTable } from "./number-table.ts";
import { calmDown, guardSession } from "./session-guard.ts";
import { type SessionOptions, sessionOptions } from "./session-options.ts";
import { keepStreamsApart } from "./session-streams.ts";

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
 *
 * What all connections together take is bounded, at the cost of those that take most: octets of requests that are not
 * complete, and open streams.
 */
export class Connections<Peer> {
  readonly #open = new Set<Connection<Peer>>();
  readonly #calls = new NumberTable<Call<Peer>>();
  readonly #waiting: (() => void)[] = [];
  readonly #library: Http2Server;
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  #next = 0;
  /** Octets of requests that are not complete. */
  #unfinished = 0;
  /** Those whose session was over when last looked. */
  #lingering = new Set<Connection<Peer>>();
  #sweep: Disposable | undefined;

  /** @throws AssayError `INTERNAL` if the library is not built as this needs it. */
  constructor(library: Server, options: SessionOptions, clock: Clock) {
    this.#library = streamHandlerOf(library);
    this.#options = options;
    this.#clock = clock;
  }

  /** How many connections are open. */
  get size(): number {
    return this.#open.size;
  }

  /** How many octets of incomplete requests are held. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Speaks HTTP/2 on a connection, and remembers it until it closes. */
  open(socket: RpcSocket, peer: Peer): void {
    const session = performServerHandshake(socket as Duplex, sessionOptions(this.#options));
    keepStreamsApart(session);
    const connection: Connection<Peer> = { socket, session, peer, calls: 0, unfinished: 0, ended: false };
    this.#open.add(connection);
    this.#sweep ??= this.#scheduleSweep();
    socket.once("close", () => {
      this.#forget(connection);
      this.#open.delete(connection);
      this.#lingering.delete(connection);
      if (this.#open.size > 0) return;
      this.#sweep?.[Symbol.dispose]();
      this.#sweep = undefined;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    // The closing of the socket that follows is all that matters.
    session.on("error", ignore);
    session.on("stream", (stream, headers, flags, rawHeaders) => {
      // Taken back before anybody has heard of it; the library would answer it, and the platform throw at the answer.
      if (stream.closed || stream.destroyed) {
        stream.on("error", ignore);
        return;
      }
      const key = this.#callBegun(connection, stream);
      if (key === undefined) return;
      // The one thing about a stream that the library hands to a handler and nobody else needs.
      headers[":authority"] = String(key);
      this.#library.emit("stream", stream, headers, flags, rawHeaders);
      this.#countOctets(stream, key);
    });
    this.#library.emit("session", session);
    guardSession(session, this.#options, this.#clock);
  }

  /**
   * What is known of the connection of a call, by what the library says is its host; undefined once the call is over.
   * A message of it has been read to the end.
   */
  peer(key: string): { readonly peer: Peer } | undefined {
    const call = this.#calls.get(Number(key));
    if (call === undefined) return undefined;
    this.#messageRead(call);
    return call.connection;
  }

  /** Another message of a conversation has been read to the end. */
  messageRead(key: string): void {
    const call = this.#calls.get(Number(key));
    if (call !== undefined) this.#messageRead(call);
  }

  /** Resolves when no connection is open. */
  drained(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends all connections at once. */
  destroy(): void {
    for (const { socket } of this.#open) socket.destroy();
  }

  /** The key of a new call, or undefined if it is refused. */
  #callBegun(connection: Connection<Peer>, stream: ServerHttp2Stream): number | undefined {
    if (this.#calls.size >= this.#options.maxStreams && connection.calls >= FEW_CALLS) {
      stream.on("error", ignore);
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return undefined;
    }
    const key = ++this.#next;
    const call: Call<Peer> = { connection, octets: 0 };
    this.#calls.set(key, call);
    connection.calls++;
    stream.once("close", () => {
      this.#messageRead(call);
      this.#calls.delete(key);
      connection.calls--;
    });
    return key;
  }

  /** The library reads the stream already, so this neither starts it nor takes anything away. */
  #countOctets(stream: ServerHttp2Stream, key: number): void {
    const call = this.#calls.get(key);
    if (call === undefined) return;
    const { connection } = call;
    stream.on("data", ({ length }: Buffer) => {
      if (connection.ended) return;
      call.octets += length;
      connection.unfinished += length;
      this.#unfinished += length;
      if (this.#unfinished > this.#options.maxUnfinished) this.#endGreediest();
    });
    stream.once("end", () => this.#messageRead(call));
  }

  #messageRead(call: Call<Peer>): void {
    if (call.connection.ended) return;
    call.connection.unfinished -= call.octets;
    this.#unfinished -= call.octets;
    call.octets = 0;
  }

  /**
   * A session that is over waits until all has been written and the client has closed the connection too. A client that
   * neither reads nor closes would keep it for ever, whatever the limit was that ended the session.
   */
  #scheduleSweep(): Disposable {
    return this.#clock.schedule(SWEEP_INTERVAL, () => {
      this.#sweep = this.#scheduleSweep();
      const over = new Set([...this.#open].filter(({ session }) => session.destroyed));
      for (const connection of over) if (this.#lingering.has(connection)) connection.socket.destroy();
      this.#lingering = over;
    });
  }

  /** Nothing of a connection counts any more. */
  #forget(connection: Connection<Peer>): void {
    if (!connection.ended) this.#unfinished -= connection.unfinished;
    connection.ended = true;
  }

  #endGreediest(): void {
    let greediest: Connection<Peer> | undefined;
    for (const connection of this.#open) {
      if (connection.ended) continue;
      if (connection.unfinished > (greediest?.unfinished ?? 0)) greediest = connection;
    }
    if (greediest === undefined) return;
    // Its streams close some ticks later; until then others would have to pay for what it sent.
    this.#forget(greediest);
    calmDown(greediest.session);
  }
}

interface Connection<Peer> {
  readonly socket: RpcSocket;
  readonly session: ServerHttp2Session;
  readonly peer: Peer;
  calls: number;
  unfinished: number;
  /** Whether its octets have been taken off for good. */
  ended: boolean;
}

interface Call<Peer> {
  readonly connection: Connection<Peer>;
  /** Of the message that is being received. */
  octets: number;
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
  // Told by the closing of the connection or the stream.
}

/** Calls that a connection may have even when there are too many. */
const FEW_CALLS = 16;
/** Milliseconds; what is left of a session is cut at the second look. */
const SWEEP_INTERVAL = 5000;
