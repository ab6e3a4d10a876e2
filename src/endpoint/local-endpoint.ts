/**
 * endpoint/ — a Unix socket of ours: who connected, which protocol, and the hand-over to the one who speaks it.
 *
 * Must never know what is asked on a connection.
 * Called by the composition of the server and of the agent, which must not import each other.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { toAssayError } from "../errors/assay-error.ts";
import { listenOnSocket } from "../files/socket-path.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import { identifyPeer, type PeerProcess } from "../peer/identify-peer.ts";
import { FrontedSocket, type Turns } from "../rpc/authority/fronted-socket.ts";
import { sniffProtocol } from "../rpc/sniff.ts";

/** What a local endpoint needs. */
export interface LocalEndpointOptions {
  readonly path: string;
  /** Permission bits of the socket. */
  readonly mode: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Takes a connection that speaks gRPC; whatever `:authority` its client sends has been made acceptable. */
  readonly onGrpc: (socket: FrontedSocket, peer: PeerProcess) => void;
  /** Takes a connection that speaks HTTP/1.1. */
  readonly onHttp: (socket: Socket, peer: PeerProcess) => void;
  /** Connections that one user may have open; further ones are closed. 4096 unless told. */
  readonly maxConnectionsPerUser?: number;
  /** Asks the kernel; tests put their own in place. */
  readonly identify?: (socket: Socket) => PeerProcess;
}

/**
 * A Unix socket on which gRPC and HTTP/1.1 are spoken. Each connection belongs to the process that opened it: when that
 * process ends, the connection is cut, even where another process still holds the socket.
 */
export class LocalEndpoint implements AsyncDisposable {
  readonly #options: LocalEndpointOptions;
  readonly #server: Server;
  readonly #open = new Map<Socket, PeerProcess>();
  /** How many connections are open, by the user's id. */
  readonly #byUser = new Map<number, number>();
  readonly #turns: Turns = { waiting: 0 };
  /** Users of whom it was said that they are over the limit. */
  readonly #overLimit = new Set<number>();
  #sweep: Disposable | undefined;

  constructor(options: LocalEndpointOptions) {
    this.#options = options;
    this.#server = createServer((socket) => {
      // One connection's trouble is no other's.
      this.#accept(socket).catch((error: unknown) => {
        options.log.error("connection cannot be served", { [FIELD.error]: toAssayError(error) });
        socket.destroy();
      });
    });
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#open.size;
  }

  /** Begins to listen. @throws AssayError `LISTEN_FAILED`. */
  async listen(): Promise<void> {
    const { path, mode, log } = this.#options;
    await listenOnSocket(this.#server, path, { mode });
    // Such as a want of descriptors, which passes.
    this.#server.on("error", (error) =>
      log.error("connection cannot be accepted", { [FIELD.error]: toAssayError(error) }),
    );
    this.#scheduleSweep();
  }

  /** Takes no more connections; those that are open stay. */
  close(): void {
    this.#sweep?.[Symbol.dispose]();
    if (this.#server.listening) this.#server.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    for (const socket of this.#open.keys()) socket.destroy();
  }

  async #accept(socket: Socket): Promise<void> {
    const { clock, log, identify = identifyPeer } = this.#options;
    // A connection that breaks while nobody listens to it would be an unhandled error of the process.
    socket.on("error", ignore);
    let peer: PeerProcess;
    try {
      peer = identify(socket);
    } catch (error) {
      log.warn("connection refused, its caller cannot be identified", { [FIELD.error]: toAssayError(error) });
      socket.destroy();
      return;
    }
    if (!this.#admits(peer)) {
      socket.destroy();
      peer[Symbol.dispose]();
      return;
    }
    this.#open.set(socket, peer);
    socket.once("close", () => {
      this.#open.delete(socket);
      this.#count(peer.uid, -1);
      peer[Symbol.dispose]();
    });
    const protocol = await sniffProtocol(socket, { clock, timeout: FIRST_BYTES_TIMEOUT });
    if (protocol === undefined || socket.destroyed) return;
    if (protocol === "h2") this.#options.onGrpc(new FrontedSocket(socket, this.#turns), peer);
    else this.#options.onHttp(socket, peer);
  }

  /** One user may not take the descriptors and the memory that all others need. */
  #admits({ uid }: PeerProcess): boolean {
    const { log, maxConnectionsPerUser = MAX_CONNECTIONS_PER_USER } = this.#options;
    const open = this.#count(uid, 1);
    if (open <= maxConnectionsPerUser) {
      if (open < maxConnectionsPerUser) this.#overLimit.delete(uid);
      return true;
    }
    this.#count(uid, -1);
    // Once for each time that the limit is reached: whoever is over it can go on for long.
    if (!this.#overLimit.has(uid)) {
      this.#overLimit.add(uid);
      log.warn("connection refused, its user has too many", { [FIELD.uid]: uid });
    }
    return false;
  }

  #count(uid: number, change: number): number {
    const open = (this.#byUser.get(uid) ?? 0) + change;
    if (open === 0) this.#byUser.delete(uid);
    else this.#byUser.set(uid, open);
    return open;
  }

  #scheduleSweep(): void {
    this.#sweep = this.#options.clock.schedule(SWEEP_INTERVAL, () => {
      for (const [socket, peer] of this.#open) if (!peer.isAlive()) socket.destroy();
      this.#scheduleSweep();
    });
  }
}

function ignore(): void {
  // The close that follows is all that matters.
}

/**
 * Far above what a user's workloads have on one machine (a connection or two each), and with a descriptor for the
 * socket and one for the process below what a service may open.
 */
const MAX_CONNECTIONS_PER_USER = 4096;
const FIRST_BYTES_TIMEOUT = 10_000;
const SWEEP_INTERVAL = 1000;
