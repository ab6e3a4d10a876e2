import { constants } from "node:crypto";
import {
  type AddressInfo,
  createConnection,
  createServer as createTcpServer,
  type Server as TcpServer,
  type Socket,
} from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import { AssayError } from "../errors/assay-error.ts";
import { listenOnSocket } from "../files/socket-path.ts";
import { AddressLimit, type AddressLimitOptions } from "./address-limit.ts";
import { type ClientSvid, clientChain, type ClientSvidVerifier } from "./client-svid.ts";

/** Certificate and key that the listener shows, as PEM. */
export interface ServerCredential {
  /** Leaf first, then intermediates. */
  readonly certificateChain: string;
  readonly privateKey: string;
}

/** A connection that is ready to be served, with a live view of who is at its other end. */
export interface TlsConnection {
  readonly socket: TLSSocket;
  readonly peer: TlsPeer;
}

/** What the transport proves about a caller. */
export interface TlsCaller {
  /** Network address without port; empty on a Unix socket. */
  readonly address: string;
  /** The X509-SVID that the caller proved possession of, if it showed one. */
  readonly svid?: ClientSvid;
}

/** Who is at the other end of a TLS connection. Asked at every call: bundles change while connections live. */
export interface TlsPeer {
  /**
   * The caller as it is now.
   * @throws AssayError `CALLER_NOT_IDENTIFIED` where the SVID shown no longer chains to the bundle.
   */
  caller(): TlsCaller;
}

/** Where a TLS listener is: a port (0 takes a free one), or a Unix socket with its permission bits. */
export type TlsAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode: number };

/** What a TLS listener is made of. */
export interface TlsListenerOptions {
  readonly address: TlsAddress;
  /** Protocols offered, first preferred: `h2` for gRPC, also `http/1.1` for the web. */
  readonly alpn: readonly string[];
  /**
   * What is shown, or what says so at each handshake, by the same object while it is the same; handshakes fail while
   * there is nothing to show.
   */
  readonly credential: ServerCredential | (() => ServerCredential | undefined);
  readonly verifier: ClientSvidVerifier;
  /** Whether a client without a certificate is refused; false unless told. */
  readonly requireSvid?: boolean;
  /** Connections at once, handshakes that are under way included; further ones are closed. No bound unless told. */
  readonly maxConnections?: number;
  /**
   * How many connections one address may have at once without having shown an SVID, handshakes that are under way
   * included; further ones are closed before any TLS. No bound unless told, and none on a Unix socket.
   */
  readonly addressLimit?: AddressLimitOptions;
  /** Takes over each connection whose handshake is done and whose client SVID, if any, is good. */
  readonly onConnection: (connection: TlsConnection) => void;
  /** Told of handshakes that failed; the text names no secret. */
  readonly onRefused?: (address: string, reason: string) => void;
}

/**
 * A listener with TLS 1.2 or later, on a port or a Unix socket, that asks for a client certificate and checks the one
 * it is shown as an X509-SVID.
 *
 * Sessions are never resumed: a resumed session would skip the check of a client's chain and so outlive a revoked
 * root or agent.
 */
export class TlsListener implements AsyncDisposable {
  readonly #options: TlsListenerOptions;
  readonly #tcp: TcpServer;
  readonly #tls: TlsServer;
  readonly #addresses: AddressLimit | undefined;
  readonly #sockets = new Set<Socket>();
  /** Connections whose client showed an SVID. */
  readonly #identified = new Map<TLSSocket, TlsPeer>();
  #isJudging = false;
  #isJudgedAgain = false;
  #shown: ServerCredential | undefined;

  private constructor(options: TlsListenerOptions) {
    this.#options = options;
    const { credential, addressLimit } = options;
    this.#shown = typeof credential === "function" ? undefined : credential;
    this.#tls = createTlsServer({
      ...contextOptions(this.#shown),
      ALPNProtocols: [...options.alpn],
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    });
    this.#addresses = addressLimit === undefined ? undefined : new AddressLimit(addressLimit);
    this.#tcp = createTcpServer((socket) => this.#begin(socket));
    if (options.maxConnections !== undefined) this.#tcp.maxConnections = options.maxConnections;
    this.#tls.on("secureConnection", (socket) => this.#accept(socket));
    this.#tls.on("tlsClientError", (error, socket) => {
      options.onRefused?.(socket.remoteAddress ?? "", error.message);
      socket.destroy();
    });
  }

  /** Opens the listener. @throws AssayError `LISTEN_FAILED` naming the address and the remedy. */
  static async open(options: TlsListenerOptions): Promise<TlsListener> {
    const listener = new TlsListener(options);
    const server = listener.#tcp;
    const { address } = options;
    if ("path" in address) await listenOnSocket(server, address.path, { mode: address.mode });
    else {
      await new Promise<void>((resolve, reject) => {
        server.once("error", (error: NodeJS.ErrnoException) =>
          reject(listenError(address, error.code, error)),
        );
        server.listen({ ...address, backlog: BACKLOG }, resolve);
      });
      server.removeAllListeners("error");
    }
    server.on("error", (error) => options.onRefused?.("", error.message));
    return listener;
  }

  /** The address of a port, with the number the system chose if 0 was asked for. */
  get address(): AddressInfo {
    return this.#tcp.address() as AddressInfo;
  }

  /** Shows another certificate from the next handshake on; connections that are open keep theirs. */
  setCredential(credential: ServerCredential | undefined): void {
    this.#tls.setSecureContext(contextOptions(credential));
  }

  /**
   * Judges the clients of all open connections again, after bundles or revocation lists have changed, and closes the
   * connections of those whose SVID is not believed any more. A hundred a turn, so that nobody waits for thousands.
   */
  async recheck(): Promise<void> {
    this.#isJudgedAgain = true;
    if (this.#isJudging) return;
    this.#isJudging = true;
    while (this.#isJudgedAgain) {
      this.#isJudgedAgain = false;
      let judged = 0;
      for (const [socket, peer] of this.#identified) {
        if (++judged % PEERS_A_TURN === 0) await new Promise(setImmediate);
        try {
          peer.caller();
        } catch (error) {
          this.#identified.delete(socket);
          this.#options.onRefused?.(
            socket.remoteAddress ?? "",
            error instanceof Error ? error.message : String(error),
          );
          socket.destroy();
        }
      }
    }
    this.#isJudging = false;
  }

  /** Takes no further connections. Those that are open belong to whoever took them over. */
  stopAccepting(): void {
    this.#tcp.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tcp.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Lets a connection begin its handshake, or closes it before that costs anything. */
  #begin(socket: Socket): void {
    if (this.#addresses?.take(socket) === false) {
      socket.on("error", () => undefined).destroy();
      return;
    }
    const { credential } = this.#options;
    if (typeof credential === "function") {
      const next = credential();
      if (next !== this.#shown) this.setCredential(next);
      this.#shown = next;
    }
    this.#keep(socket);
    this.#tls.emit("connection", socket);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #accept(socket: TLSSocket): void {
    this.#keep(socket);
    const address = socket.remoteAddress ?? "";
    try {
      const chain = clientChain(socket);
      if (chain === undefined) {
        if (this.#options.requireSvid === true) {
          throw new AssayError("CALLER_NOT_IDENTIFIED", "client SVID: none was shown");
        }
        const caller: TlsCaller = { address };
        this.#options.onConnection({ socket, peer: { caller: () => caller } });
        return;
      }
      const verified = this.#options.verifier.open(chain);
      if (!socket.destroyed) this.#addresses?.identify(socket);
      const peer: TlsPeer = { caller: () => ({ address, svid: verified.current() }) };
      this.#identified.set(socket, peer);
      socket.once("close", () => this.#identified.delete(socket));
      this.#options.onConnection({ socket, peer });
    } catch (error) {
      this.#options.onRefused?.(address, error instanceof Error ? error.message : String(error));
      socket.destroy();
    }
  }
}

/**
 * Looks whether somebody listens at an address already, without opening anything: of several listeners none shall open
 * if one of them cannot. What this overlooks is found by `TlsListener.open`.
 * @throws AssayError `LISTEN_FAILED` naming the address and the remedy.
 */
export async function requireFreePort(address: {
  readonly host: string;
  readonly port: number;
}): Promise<void> {
  if (address.port === 0) return;
  const isTaken = await new Promise<boolean>((resolve) => {
    const socket = createConnection({ ...address, timeout: PROBE_TIMEOUT_MS });
    const settle = (taken: boolean): void => {
      socket.destroy();
      resolve(taken);
    };
    socket.once("connect", () => settle(true));
    socket.once("timeout", () => settle(false));
    socket.once("error", () => settle(false));
  });
  if (isTaken) throw listenError(address, "EADDRINUSE");
}

function contextOptions(credential: ServerCredential | undefined) {
  return {
    ...(credential === undefined ? {} : { cert: credential.certificateChain, key: credential.privateKey }),
    minVersion: "TLSv1.2" as const,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: 1,
  };
}

/** Why a listener cannot be opened, in words for the operator. */
export function listenError(
  { host, port }: { readonly host: string; readonly port: number },
  code: string | undefined,
  cause?: Error,
): AssayError {
  const reason =
    code === "EADDRINUSE"
      ? "the port is taken by another process, choose another or stop that process"
      : code === "EACCES"
        ? "the port needs more privileges, choose one above 1023"
        : code === "EADDRNOTAVAIL"
          ? "this machine does not have that address"
          : (cause?.message ?? "unknown reason");
  return new AssayError("LISTEN_FAILED", `cannot listen on ${host}:${port}: ${reason}`, { cause });
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 300;
const BACKLOG = 4096;
const PEERS_A_TURN = 100;
