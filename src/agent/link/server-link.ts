/**
 * agent/link/ — the agent's side of the wire to its server: one connection, and the server API in the agent's words.
 *
 * Must never know what becomes of an answer: no cache, no workload.
 * Called by the agent's identity, sync and cache.
 */
import { type Clock, unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { Log } from "../../observe/log.ts";
import { RpcClient } from "../../rpc/client.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { serverId } from "../../spiffe/reserved.ts";
import type { AgentIdentity } from "../identity/agent-identity.ts";
import { RpcServerApi } from "./rpc-server-api.ts";
import type { ServerApi } from "./server-api.ts";

/** Where the server is and how the agent believes it. */
export interface ServerLinkOptions {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The connection to the server, made anew whenever the agent's SVID or the bundle changes. Calls under way on the old
 * one may finish; the rest goes over the new one.
 */
export class ServerLink implements Disposable {
  readonly #options: ServerLinkOptions;
  readonly #onReplaced = new Set<() => void>();
  #client: RpcClient | undefined;
  #identity: AgentIdentity | undefined;
  #api: ServerApi | undefined;

  constructor(options: ServerLinkOptions) {
    this.#options = options;
  }

  /** Speaks as this agent from here on, or as nobody yet; believes servers by this bundle. */
  use(identity: AgentIdentity | undefined, bundle: SpiffeBundle): void {
    const client = this.#connect(identity, bundle);
    this.#client?.close();
    this.#client = client;
    this.#api = new RpcServerApi(client, this.#options.log);
    // A new bundle alone is no reason to begin streams anew: every agent of the trust domain would do so at once.
    const isOther = identity !== this.#identity;
    this.#identity = identity;
    if (isOther) for (const listener of this.#onReplaced) listener();
  }

  /** The server, over the present connection. @throws AssayError `NOT_READY` before the first `use`. */
  get server(): ServerApi {
    if (this.#api === undefined) throw new AssayError("NOT_READY", "the agent has no connection yet");
    return this.#api;
  }

  /**
   * The trust domain's bundle as a server tells it that is believed by this one; asked as nobody, over a connection of its
   * own.
   */
  async askBundle(believed: SpiffeBundle, signal: AbortSignal): Promise<SpiffeBundle> {
    using client = this.#connect(undefined, believed);
    return await new RpcServerApi(client, this.#options.log).bundle(signal);
  }

  /** Hears of each connection under another identity. */
  onReplaced(listener: () => void): Disposable {
    this.#onReplaced.add(listener);
    return { [Symbol.dispose]: () => void this.#onReplaced.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#client?.[Symbol.dispose]();
  }

  #connect(identity: AgentIdentity | undefined, bundle: SpiffeBundle): RpcClient {
    const { host, port, clock } = this.#options;
    return new RpcClient({
      target: {
        kind: "tls",
        host,
        port,
        authorities: bundle.x509Authorities.map(({ certificate }) => certificate),
        verifyServer: (chain) => verifyServer(chain, bundle, clock),
        ...(identity === undefined
          ? {}
          : { identity: { certificates: identity.chain, privateKey: identity.key } }),
      },
      maxReceiveMessageSize: MAX_MESSAGE,
      keepaliveTime: KEEPALIVE_TIME,
      keepaliveTimeout: KEEPALIVE_TIMEOUT,
    });
  }
}

/**
 * Believes a server by its SPIFFE ID alone: the one that is kept for servers, in our own trust domain.
 * @throws AssayError `INVALID_CERTIFICATE`.
 */
export function verifyServer(chain: readonly Uint8Array[], bundle: SpiffeBundle, clock: Clock): void {
  const roots = bundle.x509Authorities.map(({ certificate }) => readCertificate(certificate));
  const expected = serverId(bundle.trustDomain);
  const certificates = chain.map((der) => readCertificate(der));
  const { spiffeId } = validateX509Svid(certificates, roots, unixSeconds(clock));
  if (spiffeId !== expected) {
    throw new AssayError("INVALID_CERTIFICATE", `the server is ${spiffeId}, expected ${expected}`);
  }
}

// A state of ten thousand entries comes in several messages; one of them may still be large.
const MAX_MESSAGE = 64 * 1024 * 1024;
const KEEPALIVE_TIME = 30_000;
const KEEPALIVE_TIMEOUT = 20_000;
