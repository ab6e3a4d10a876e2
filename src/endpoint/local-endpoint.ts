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
import { FrontedSocket } from "../rpc/authority/fronted-socket.ts";
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
  #sweep: Disposable | undefined;

  constructor(options: LocalEndpointOptions) {
    this.#options = options;
    this.#server = createServer((socket) => void this.#accept(socket));
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#open.size;
  }

  /** Begins to listen. @throws AssayError `LISTEN_FAILED`. */
  async listen(): Promise<void> {
    await listenOnSocket(this.#server, this.#options.path, { mode: this.#options.mode });
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
    this.#open.set(socket, peer);
    socket.once("close", () => {
      this.#open.delete(socket);
      peer[Symbol.dispose]();
    });
    const protocol = await sniffProtocol(socket, { clock, timeout: FIRST_BYTES_TIMEOUT });
    if (protocol === undefined || socket.destroyed) return;
    if (protocol === "h2") this.#options.onGrpc(new FrontedSocket(socket), peer);
    else this.#options.onHttp(socket, peer);
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

const FIRST_BYTES_TIMEOUT = 10_000;
const SWEEP_INTERVAL = 1000;
