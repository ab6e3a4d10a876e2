import { Agent, type AgentOptions } from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect, type ConnectionOptions, type PeerCertificate } from "node:tls";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { X509BundleSource } from "./bundles.ts";
import { OpenPeers } from "./open-peers.ts";
import { clientContext } from "./tls-context.ts";
import { judgePeer, markPeer, type PeerPolicy, type TlsPeer } from "./tls-peer.ts";
import type { X509SvidSource } from "./x509-source.ts";

/** Where a client's own X509-SVID and whom it believes come from: an `X509Source`, as a rule. */
export type TlsClientSource = X509SvidSource & X509BundleSource;

/**
 * Options of one `tls.connect`, with the X509-SVID and bundles of this moment: ask for them anew for each connection.
 *
 * Node calls `checkServerIdentity` before it hands over or sends a single byte of the application's, and only when
 * OpenSSL has found a path to some authority of some bundle. There the chain is validated again, by our own rules, with the
 * bundle of the peer's own trust domain, and the authorizer is asked. Names of hosts play no part.
 *
 * The connection is then its maker's: see `verifyPeer` for how long its peer stays trusted.
 *
 * Do not give a `session` besides: Node would then skip that check. Whoever keeps sessions (undici's pool does) must be
 * told not to: `maxCachedSessions: 0`.
 * @throws AssayError `NO_IDENTITY_ISSUED` and others of the source: there is no X509-SVID now.
 */
export function tlsClientOptions(source: TlsClientSource, policy: PeerPolicy): ConnectionOptions {
  return connectionOptions(source, policy, () => undefined);
}

/** Settings of {@link createHttpsAgent}: those of `https.Agent` but for what makes TLS. */
export type SpiffeAgentOptions = PeerPolicy &
  Pick<
    AgentOptions,
    | "keepAlive"
    | "keepAliveMsecs"
    | "maxSockets"
    | "maxTotalSockets"
    | "maxFreeSockets"
    | "scheduling"
    | "timeout"
  >;

/** An agent for `https.request` that speaks as this workload. Dispose of it or `destroy` it in the end. */
export interface SpiffeAgent extends Agent, Disposable {}

/**
 * An agent for `https.request` whose every connection is made with the present X509-SVID and bundles and checked as
 * {@link tlsClientOptions} says; nothing that a request says about TLS changes that. Sessions are never resumed, and
 * a connection is used for no further request once the source has changed, so that the next one meets the new state.
 * A request under way goes on, unless its server would be refused now (`verifyPeer`): then it fails with the reason.
 */
export function createHttpsAgent(source: TlsClientSource, options: SpiffeAgentOptions): SpiffeAgent {
  return new SourceAgent(source, options);
}

class SourceAgent extends Agent implements SpiffeAgent {
  readonly #source: TlsClientSource;
  readonly #policy: PeerPolicy;
  readonly #peers: OpenPeers;
  /** Connections that were made before the source changed last and carry a request still. */
  readonly #outdated = new WeakSet<Duplex>();

  constructor(source: TlsClientSource, { authorize, bundles, clock, ...agent }: SpiffeAgentOptions) {
    super({ keepAlive: true, ...agent, maxCachedSessions: 0 });
    this.#source = source;
    this.#policy = {
      authorize,
      ...(bundles === undefined ? {} : { bundles }),
      ...(clock === undefined ? {} : { clock }),
    };
    // Before the agent's own listener, which gives a destroyed connection neither to the pool nor to a waiting request.
    this.prependListener("free", (socket: Duplex) => {
      if (this.#outdated.has(socket)) socket.destroy();
    });
    this.#peers = new OpenPeers({
      source,
      policy: this.#policy,
      onChange: () => this.#retire(),
      close: (socket, reason) => socket.destroy(reason),
    });
  }

  override createConnection(
    options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | undefined {
    const { host, port, servername, ALPNProtocols, localAddress, family, lookup, timeout } =
      options as ConnectionOptions & { readonly localAddress?: string; readonly family?: number };
    try {
      const own = connectionOptions(this.#source, this.#policy, (peer) => {
        markPeer(socket, peer);
        this.#peers.add(socket);
      });
      // Where to connect is the request's; how to prove and to check is not.
      const socket = connect({
        ...(host === undefined ? {} : { host }),
        ...(port === undefined ? {} : { port }),
        ...(servername === undefined || isIP(servername) !== 0 ? {} : { servername }),
        ...(ALPNProtocols === undefined ? {} : { ALPNProtocols }),
        ...(localAddress === undefined ? {} : { localAddress }),
        ...(family === undefined ? {} : { family }),
        ...(lookup === undefined ? {} : { lookup }),
        ...(timeout === undefined ? {} : { timeout }),
        ...own,
      } as ConnectionOptions);
      return socket;
    } catch (error) {
      if (callback === undefined) throw error;
      // As an event of the request, not as an exception in whoever happened to free a place in the pool.
      process.nextTick(callback, toAssayError(error));
      return undefined;
    }
  }

  override destroy(): void {
    this.#peers[Symbol.dispose]();
    super.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  #retire(): void {
    for (const sockets of Object.values(this.freeSockets)) {
      for (const socket of sockets ?? []) socket.destroy();
    }
    for (const sockets of Object.values(this.sockets)) {
      for (const socket of sockets ?? []) this.#outdated.add(socket);
    }
  }
}

function connectionOptions(
  source: TlsClientSource,
  policy: PeerPolicy,
  onPeer: (peer: TlsPeer) => void,
): ConnectionOptions {
  const bundles = policy.bundles ?? source;
  return {
    secureContext: clientContext(source.x509Svid(), bundles),
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      try {
        onPeer(judgePeer(certificate, "server", bundles, policy));
        return undefined;
      } catch (error) {
        return error instanceof Error ? error : new AssayError("INTERNAL", String(error));
      }
    },
  };
}
