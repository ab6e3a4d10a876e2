/**
 * agent/broker/ — the Broker Endpoint: programs that prove themselves by X509-SVIDs ask for the identities of workloads
 * that they name. Must never know how a workload is looked up, nor how entries and SVIDs come to the agent.
 * Called by the agent's composition, where the operator has switched the incubating profile on.
 */
import type { Clock } from "../../clock.ts";
import { toPem } from "../../crypto/pem.ts";
import { createClientSvidVerifier } from "../../endpoint/client-svid.ts";
import {
  type ServerCredential,
  type TlsAddress,
  type TlsConnection,
  TlsListener,
} from "../../endpoint/tls-listener.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { API } from "../../proto/gen/spiffe/broker/api_pb.ts";
import { registerReflection } from "../../rpc/reflection.ts";
import type { FinishedCall } from "../../rpc/server-options.ts";
import { RpcServer } from "../../rpc/server.ts";
import type { EndpointAddress } from "../../spiffe/endpoint-address.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { AgentIdentity } from "../identity/agent-identity.ts";
import type { IdentityKeeper } from "../identity/identity-keeper.ts";
import { type AdmittedBroker, brokerAdmission, type BrokerPeer } from "./admit-broker.ts";
import type { BrokerSettings } from "./broker-settings.ts";
import { ConnectionCount } from "./connection-count.ts";
import { type BrokerApiOptions, brokerApiHandlers } from "./grpc-broker-api.ts";

/** What the endpoint needs. */
export interface BrokerEndpointOptions extends BrokerApiOptions {
  readonly settings: BrokerSettings;
  readonly trustDomain: TrustDomain;
  readonly keeper: Pick<IdentityKeeper, "current" | "bundle">;
  readonly cache: AgentCache;
  readonly log: Log;
  readonly onCall: (call: FinishedCall<unknown>) => void;
}

/** The endpoint at work. */
export interface BrokerEndpoint extends AsyncDisposable {
  /** Ports, in the order of the addresses; 0 for a Unix socket. */
  readonly ports: readonly number[];
  /** Takes no more connections, tells open streams Unavailable, and cuts what is left after so many milliseconds. */
  shutdown(grace: number): Promise<void>;
}

/**
 * Opens the Broker Endpoint at all its addresses. The agent's own X509-SVID is shown, the newest one at each handshake;
 * brokers show theirs, of the own trust domain or of one whose bundle the agent has, on a Unix socket as over TCP
 * (Broker Endpoint §3.1, §5).
 * @throws AssayError `LISTEN_FAILED` naming the address.
 */
export async function openBrokerEndpoint(options: BrokerEndpointOptions): Promise<BrokerEndpoint> {
  const { settings, clock, log, cache, keeper, trustDomain } = options;
  await using stack = new AsyncDisposableStack();
  const rpc = new RpcServer<BrokerPeer, AdmittedBroker>({
    clock,
    before: brokerAdmission({ brokers: settings.brokers, clock, audit: options.audit }),
    onCall: options.onCall,
    maxReceiveMessageSize: MAX_REQUEST,
    maxConcurrentStreams: MAX_STREAMS,
    keepaliveTime: KEEPALIVE_TIME,
  });
  rpc.register(API, brokerApiHandlers(options));
  registerReflection(rpc);
  const verifier = createClientSvidVerifier({
    clock,
    bundleOf: (name) => (name === trustDomain ? keeper.bundle : cache.table.federated.get(name)),
    crlsOf: (name) => cache.table.crls.get(name),
  });
  const credential = credentialOf(keeper);
  const count = new ConnectionCount(settings.brokers.map(({ id }) => id));
  const onRefused = (from: string, detail: string): void =>
    log.debug("broker's connection refused", { [FIELD.address]: from, [FIELD.detail]: detail });
  const listeners: TlsListener[] = [];
  for (const address of settings.addresses) {
    const transport = address.scheme;
    const listener = await TlsListener.open({
      address: tlsAddress(address, settings),
      alpn: ["h2"],
      credential,
      verifier,
      requireSvid: true,
      maxConnections: MAX_CONNECTIONS,
      onConnection(connection) {
        const { socket, peer } = connection;
        const { svid, address: from } = peer.caller();
        if (!count.take(socket, svid?.spiffeId)) {
          onRefused(from, `there are too many connections of ${svid?.spiffeId ?? "strangers"}`);
          socket.destroy();
          return;
        }
        endWithSvid(connection, clock);
        rpc.injectConnection(socket, { tls: peer, transport });
      },
      onRefused,
    });
    listeners.push(stack.use(listener));
  }
  stack.use(cutRevoked(cache, clock, listeners));
  const kept = stack.move();
  return {
    ports: settings.addresses.map(({ scheme }, i) =>
      scheme === "tcp" ? (listeners[i]?.address.port ?? 0) : 0,
    ),
    async shutdown(grace) {
      for (const listener of listeners) listener.stopAccepting();
      // Connections are cut only after their last words have left.
      await rpc.shutdown(grace);
      await kept.disposeAsync();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function tlsAddress(address: EndpointAddress, { socketMode }: BrokerSettings): TlsAddress {
  return address.scheme === "unix"
    ? { path: address.path, mode: socketMode }
    : { host: address.host, port: address.port };
}

/** Reads the agent's identity as the listener shows it, anew only when it is another. */
function credentialOf(keeper: Pick<IdentityKeeper, "current">): () => ServerCredential | undefined {
  let known: { readonly identity: AgentIdentity; readonly credential: ServerCredential } | undefined;
  return () => {
    const identity = keeper.current;
    if (identity === undefined) return undefined;
    if (known?.identity !== identity) {
      const certificateChain = identity.chain.map((der) => toPem("CERTIFICATE", der)).join("");
      const privateKey = toPem("PRIVATE KEY", identity.privateKey);
      known = { identity, credential: { certificateChain, privateKey } };
    }
    return known.credential;
  };
}

/** A broker keeps its connection for long; when the SVID it showed expires it has to show a newer one. */
function endWithSvid({ socket, peer }: TlsConnection, clock: Clock): void {
  const expiresAt = (peer.caller().svid?.notAfter ?? 0) * 1000;
  let timer: Disposable;
  const wait = (): void => {
    const left = expiresAt - clock.now();
    timer = clock.schedule(Math.max(Math.min(left, LONGEST_WAIT), 0), () => {
      if (clock.now() < expiresAt) wait();
      else socket.destroy();
    });
  };
  wait();
  socket.once("close", () => timer[Symbol.dispose]());
}

/** Closes the connections of brokers that a new revocation list names, a moment later: open streams first say why. */
function cutRevoked(cache: AgentCache, clock: Clock, listeners: readonly TlsListener[]): Disposable {
  let { crls } = cache.table;
  let timer: Disposable | undefined;
  const listening = cache.bell.listen(() => {
    if (cache.table.crls === crls) return;
    crls = cache.table.crls;
    timer?.[Symbol.dispose]();
    timer = clock.schedule(LAST_WORDS_MS, () => {
      for (const listener of listeners) void listener.recheck();
    });
  });
  return {
    [Symbol.dispose]() {
      listening[Symbol.dispose]();
      timer?.[Symbol.dispose]();
    },
  };
}

const LAST_WORDS_MS = 300;
const MAX_REQUEST = 64 * 1024;
// A broker has a few streams for each of its workloads, all on one connection.
const MAX_STREAMS = 10_000;
const KEEPALIVE_TIME = 60_000;
// Of one address, handshakes that are under way included.
const MAX_CONNECTIONS = 4096;
const LONGEST_WAIT = 86_400_000;
