import { constants } from "node:crypto";
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server as TcpServer,
  type Socket,
} from "node:net";
import {
  createSecureContext,
  createServer as createTlsServer,
  type Server as TlsServer,
  type TLSSocket,
} from "node:tls";
import type { Clock } from "../../clock.ts";
import { INTERMEDIATE_CIPHERS, INTERMEDIATE_GROUPS } from "../../tls/handshake.ts";
import { AddressLimit } from "../../endpoint/address-limit.ts";
import { listenError, type ServerCredential } from "../../endpoint/tls-listener.ts";
import type { ListenAddress } from "../options.ts";
import { asksForChallenge } from "./client-hello.ts";

/** What the listener is made of. */
export interface EndpointListenerOptions {
  readonly listen: ListenAddress;
  readonly clock: Clock;
  /** What it shows; nobody gets in while there is none. */
  readonly credential: ServerCredential | undefined;
  /** Takes over each connection whose handshake is done. */
  readonly onConnection: (socket: TLSSocket) => void;
  /** Told of handshakes that failed. */
  readonly onRefused: (address: string, reason: string) => void;
  /** Told of connections that were closed at once as their address has too many; `first` as for `AddressLimit`. */
  readonly onOverLimit: (address: string, first: boolean) => void;
}

/**
 * The door of the bundle endpoint: TLS 1.2 and 1.3 by Mozilla's "intermediate" profile, which SPIFFE Federation §5
 * asks for, without resumption and without asking for a client certificate. While a CA validates a name by TLS-ALPN-01
 * it is answered here, too, and nobody else sees the challenge's certificate.
 */
export class EndpointListener implements AsyncDisposable {
  readonly #options: EndpointListenerOptions;
  readonly #tcp: TcpServer;
  readonly #tls: TlsServer;
  readonly #challengeTls: TlsServer;
  readonly #challenges = new Map<string, ServerCredential>();
  readonly #sockets = new Set<Socket>();
  readonly #addresses: AddressLimit;

  private constructor(options: EndpointListenerOptions) {
    this.#options = options;
    this.#addresses = new AddressLimit({ limit: MAX_PER_ADDRESS, onOver: options.onOverLimit });
    const onError = (error: Error, socket: TLSSocket) => {
      options.onRefused(socket.remoteAddress ?? "", error.message);
      socket.destroy();
    };
    this.#tls = createTlsServer({ ...contextOptions(options.credential), ...SERVER_OPTIONS });
    this.#tls.on("secureConnection", (socket) => options.onConnection(socket));
    this.#tls.on("tlsClientError", onError);
    this.#challengeTls = createTlsServer({
      ALPNProtocols: ["acme-tls/1"],
      handshakeTimeout: HANDSHAKE_TIMEOUT,
      SNICallback: (name, done) => {
        const challenge = this.#challenges.get(name);
        if (challenge === undefined) done(new Error("no challenge for this name"));
        else done(null, createSecureContext(contextOptions(challenge)));
      },
    });
    // All was said in the handshake; half of a connection would be kept for as long as its client likes.
    this.#challengeTls.on("secureConnection", (socket) => socket.on("error", () => {}).destroySoon());
    this.#challengeTls.on("tlsClientError", onError);
    this.#tcp = createTcpServer((socket) => this.#accept(socket));
    this.#tcp.maxConnections = MAX_CONNECTIONS;
  }

  /** Opens the listener. @throws AssayError `LISTEN_FAILED` naming the address and the remedy. */
  static async open(options: EndpointListenerOptions): Promise<EndpointListener> {
    const listener = new EndpointListener(options);
    const tcp = listener.#tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once("error", (error: NodeJS.ErrnoException) =>
        reject(listenError(options.listen, error.code, error)),
      );
      tcp.listen({ ...options.listen, backlog: BACKLOG }, resolve);
    });
    tcp.removeAllListeners("error");
    tcp.on("error", (error) => options.onRefused("", error.message));
    return listener;
  }

  /** Where it listens, with the port that the system chose if 0 was asked for. */
  get address(): ListenAddress {
    return { host: this.#options.listen.host, port: (this.#tcp.address() as AddressInfo).port };
  }

  /** Shows another certificate from the next handshake on. */
  setCredential(credential: ServerCredential): void {
    this.#tls.setSecureContext(contextOptions(credential));
  }

  /** Answers a CA that validates this name with a certificate made for it, until told otherwise. */
  setChallenge(name: string, credential: ServerCredential | undefined): void {
    if (credential === undefined) this.#challenges.delete(name);
    else this.#challenges.set(name, credential);
  }

  /** Takes no further connections. */
  stopAccepting(): void {
    this.#tcp.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tcp.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    // A peer that resets before its handshake has begun is nobody's error.
    socket.on("error", () => socket.destroy());
    if (!this.#addresses.take(socket)) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    if (this.#challenges.size === 0) this.#tls.emit("connection", socket);
    else void this.#sort(socket);
  }

  /** Who is who is told from the first bytes, as a certificate is chosen before OpenSSL looks at the protocol asked for. */
  async #sort(socket: Socket): Promise<void> {
    const timeout = new AbortController();
    using _deadline = this.#options.clock.schedule(HANDSHAKE_TIMEOUT, () => timeout.abort());
    const isChallenge = await asksForChallenge(socket, timeout.signal);
    if (timeout.signal.aborted) socket.destroy();
    if (!socket.destroyed) (isChallenge ? this.#challengeTls : this.#tls).emit("connection", socket);
  }
}

function contextOptions(credential: ServerCredential | undefined) {
  return {
    ...(credential !== undefined && { cert: credential.certificateChain, key: credential.privateKey }),
    minVersion: "TLSv1.2" as const,
    ciphers: INTERMEDIATE_CIPHERS,
    ecdhCurve: INTERMEDIATE_GROUPS,
    // The profile leaves the choice to the client, who knows whether it has AES in hardware.
    honorCipherOrder: false,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: 1,
  };
}

const HANDSHAKE_TIMEOUT = 10_000;
const SERVER_OPTIONS = {
  ALPNProtocols: ["http/1.1"],
  requestCert: false,
  handshakeTimeout: HANDSHAKE_TIMEOUT,
};
const MAX_CONNECTIONS = 4096;
// A partner's servers and tools need one each, for seconds; no single address may take the place of all others.
const MAX_PER_ADDRESS = 256;
const BACKLOG = 4096;
