import {
  createServer as createHttps,
  type Server as HttpsServer,
  type ServerOptions as HttpsServerOptions,
} from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  createServer as createTls,
  type Server as TlsServer,
  type TlsOptions,
  type TLSSocket,
} from "node:tls";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { X509BundleSource } from "./bundles.ts";
import { OpenPeers } from "./open-peers.ts";
import { credentialOf, HANDSHAKE } from "./tls-context.ts";
import { judgePeer, markPeer, type PeerPolicy } from "./tls-peer.ts";
import type { X509SvidSource } from "./x509-source.ts";

/** Where a server's own X509-SVID and whom it believes come from: an `X509Source`, as a rule. */
export type TlsServerSource = X509SvidSource & X509BundleSource;

/** How a server judges who calls it. */
export interface ServerPolicy extends PeerPolicy {
  /** Told of callers that were turned away, at once or from an open connection, and why; the detail holds no secret. */
  readonly onRefused?: (reason: AssayError, socket: TLSSocket) => void;
}

/** Settings of a server but for what makes TLS, which comes from the source. */
export type SpiffeTlsServerOptions = ServerPolicy & Pick<TlsOptions, "ALPNProtocols" | "handshakeTimeout">;

/** Settings of an HTTPS server but for what makes TLS, which comes from the source. */
export type SpiffeHttpsServerOptions = ServerPolicy &
  Pick<
    HttpsServerOptions,
    | "handshakeTimeout"
    | "headersTimeout"
    | "requestTimeout"
    | "keepAliveTimeout"
    | "connectionsCheckingInterval"
    | "maxHeaderSize"
    | "noDelay"
  >;

/**
 * Options for a TLS server of any kind that {@link guardServer} is about to take into its care, `http2.createSecureServer`
 * above all. By themselves they let nobody in: they name no certificate, so that no handshake succeeds unguarded.
 */
export function tlsServerOptions(): TlsOptions {
  // Whom OpenSSL would refuse is known to it for one pool of authorities only, so the guard decides alone.
  return { ...HANDSHAKE, requestCert: true, rejectUnauthorized: false };
}

/** A `tls.Server` that shows this workload's X509-SVID and lets in whom the policy authorizes; see {@link guardServer}. */
export function createTlsServer(
  source: TlsServerSource,
  options: SpiffeTlsServerOptions,
  listener?: (socket: TLSSocket) => void,
): TlsServer {
  const { authorize: _a, bundles: _b, clock: _c, onRefused: _d, ...rest } = options;
  return guardServer(
    createTls({ handshakeTimeout: HANDSHAKE_TIMEOUT_MS, ...rest, ...tlsServerOptions() }, listener),
    source,
    options,
  );
}

/**
 * An `https.Server` that shows this workload's X509-SVID and lets in whom the policy authorizes; see {@link guardServer}.
 * For Fastify, give it as `serverFactory`.
 */
export function createHttpsServer(
  source: TlsServerSource,
  options: SpiffeHttpsServerOptions,
  listener?: (request: IncomingMessage, response: ServerResponse) => void,
): HttpsServer {
  const { authorize: _a, bundles: _b, clock: _c, onRefused: _d, ...rest } = options;
  return guardServer(
    createHttps({ handshakeTimeout: HANDSHAKE_TIMEOUT_MS, ...rest, ...tlsServerOptions() }, listener),
    source,
    options,
  );
}

/**
 * Takes a server made with {@link tlsServerOptions} into care until it closes: it shows the source's present X509-SVID in
 * each handshake, and a connection reaches the program only after the caller's chain was validated with the bundle of
 * the caller's own trust domain and the authorizer has agreed. Everyone else's connection is destroyed before any
 * listener of `secureConnection`, HTTP's own among them, hears of it: no byte of theirs is read. While the source has
 * no X509-SVID, no handshake succeeds. When bundles or revocation lists change, open connections are judged again as
 * `verifyPeer` says, and those whose caller would not be let in now are destroyed.
 */
export function guardServer<Server extends TlsServer>(
  server: Server,
  source: TlsServerSource,
  policy: ServerPolicy,
): Server {
  const bundles = policy.bundles ?? source;
  const follow = (): void => server.setSecureContext({ ...HANDSHAKE, ...presentCredential(source) });
  follow();
  const close = (socket: TLSSocket, reason: AssayError): void => {
    socket.destroy();
    // In a turn of its own: where it throws, others must still be judged.
    process.nextTick(() => policy.onRefused?.(reason, socket));
  };
  const peers = new OpenPeers({ source, policy, onChange: follow, close });
  server.once("close", () => peers[Symbol.dispose]());
  server.on("tlsClientError", (cause, socket) => {
    policy.onRefused?.(
      new AssayError("INVALID_CERTIFICATE", `handshake failed: ${cause.message}`, { cause }),
      socket,
    );
  });
  const emit = server.emit.bind(server) as (event: string | symbol, ...args: unknown[]) => boolean;
  // A listener cannot keep an event from the listeners after it; whoever emits can.
  server.emit = ((event: string | symbol, ...args: unknown[]) => {
    if (event !== "secureConnection") return emit(event, ...args);
    const socket = args[0] as TLSSocket;
    if (!admit(socket, bundles, policy)) return true;
    peers.add(socket);
    return emit(event, ...args);
  }) as typeof server.emit;
  return server;
}

/** Lets a connection in, or destroys it. */
function admit(socket: TLSSocket, bundles: X509BundleSource, policy: ServerPolicy): boolean {
  try {
    if (socket.isSessionReused()) throw new AssayError("PEER_REFUSED", "sessions are not resumed");
    const certificate = socket.getPeerCertificate(true);
    // Without a certificate Node answers an object without members.
    if ((certificate as Partial<typeof certificate>).raw === undefined) {
      throw new AssayError("PEER_REFUSED", "the peer has shown no X509-SVID");
    }
    markPeer(socket, judgePeer(certificate, "client", bundles, policy));
    return true;
  } catch (error) {
    socket.destroy();
    policy.onRefused?.(toAssayError(error), socket);
    return false;
  }
}

/** Nothing where there is no X509-SVID: a context without a certificate completes no handshake. */
function presentCredential(source: X509SvidSource) {
  try {
    return credentialOf(source.x509Svid());
  } catch {
    return {};
  }
}

// Node's own two minutes are long for somebody who has proved nothing yet.
const HANDSHAKE_TIMEOUT_MS = 10_000;
