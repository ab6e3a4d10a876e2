import type { Socket } from "node:net";
import type { AddressLimitOptions } from "../endpoint/address-limit.ts";
import { LocalEndpoint } from "../endpoint/local-endpoint.ts";
import { AssayError } from "../errors/assay-error.ts";
import { CODES } from "../errors/codes.ts";
import type { Caller } from "../issuance/caller.ts";
import { FIELD } from "../observe/fields.ts";
import type { RootLog } from "../observe/log.ts";
import type { PeerProcess } from "../peer/identify-peer.ts";
import { RpcServer } from "../rpc/server.ts";
import type { KeyManagerState } from "../keys/key-manager-state.ts";
import type { Access } from "./access/access.ts";
import type { AdmittedCaller, ServerPeer } from "./call.ts";
import { registerServices, type ServiceParts } from "./grpc/services.ts";
import type { ClientSvidVerifier } from "../endpoint/client-svid.ts";
import { TlsListener } from "../endpoint/tls-listener.ts";
import type { RunningServer } from "./running-server.ts";
import type { createServerMetrics, LimitedPort, ServerMetrics } from "./server-metrics.ts";
import type { ServerSvid } from "./server-svid.ts";
import { openWebFace, type WebFaceParts } from "./web-face.ts";

/** Everything the faces of a server are made of. */
export interface FaceParts
  extends WebFaceParts,
    Pick<
      ServiceParts,
      "agentIssuance" | "workloadIssuance" | "downstreamIssuance" | "startedAt" | "revoked" | "backup"
    > {
  readonly version: string;
  readonly metrics: ReturnType<typeof createServerMetrics>;
  readonly svid: ServerSvid;
  readonly verifier: ClientSvidVerifier;
  /** How the key manager is, where it is not in this process. */
  readonly keyState: (() => KeyManagerState) | undefined;
}

/** The server's three doors, open. */
export interface Faces extends AsyncDisposable {
  readonly addresses: RunningServer["addresses"];
}

/**
 * Opens the doors of a server: gRPC over TLS, the web port, and the admin socket that speaks both.
 * @throws AssayError `LISTEN_FAILED`; doors that were open already are closed then.
 */
export async function openFaces(parts: FaceParts): Promise<Faces> {
  const { options, clock, log, metrics, signing, registry, health } = parts;
  await using stack = new AsyncDisposableStack();
  stack.use(health);

  const rpc = new RpcServer<ServerPeer, AdmittedCaller>({
    clock,
    before: (context) => admit(parts.access, context),
    onCall: (call) => finished(log, metrics, call),
    maxReceiveMessageSize: MAX_MESSAGE,
    maxConnectionIdle: IDLE_MS,
    keepaliveTime: KEEPALIVE_MS,
  });
  const { trustDomain, features } = options;
  const services = stack.use(registerServices(rpc, { ...parts, trustDomain, features }));
  stack.defer(() => rpc.shutdown(GRACE_MS));

  const callers = new WeakMap<Socket, () => Caller>();
  const callerOf = (socket: Socket): Caller => {
    const caller = callers.get(socket);
    if (caller === undefined) throw new AssayError("CALLER_NOT_IDENTIFIED", "the connection is not known");
    return caller();
  };
  const web = stack.use(await openWebFace(parts, "web", callerOf, GRACE_MS));
  const adminWeb = stack.use(await openWebFace(parts, "admin", callerOf, GRACE_MS));

  await health.refresh();
  const onRefused = (address: string, reason: string) => {
    metrics.refused();
    log.debug("TLS connection refused", { [FIELD.address]: address, [FIELD.detail]: reason });
  };
  const addressLimit = (port: LimitedPort): AddressLimitOptions => ({
    limit: options.maxConnectionsPerAddress,
    onOver(address, first) {
      metrics.overLimit(port);
      // Once for each time that the limit is reached: whoever is over it can go on for long.
      if (!first) return;
      log.warn("connection closed, its address has too many connections without an SVID", {
        [FIELD.address]: address,
        port,
      });
    },
  });
  const api = stack.use(
    await TlsListener.open({
      address: options.listen,
      addressLimit: addressLimit("api"),
      alpn: ["h2"],
      credential: parts.svid.credential,
      verifier: parts.verifier,
      onConnection: ({ socket, peer }) => rpc.injectConnection(socket, peer),
      onRefused,
    }),
  );
  const webListener = stack.use(
    await TlsListener.open({
      address: options.webListen,
      addressLimit: addressLimit("web"),
      alpn: ["http/1.1"],
      credential: parts.svid.credential,
      verifier: parts.verifier,
      onConnection({ socket, peer }) {
        callers.set(socket, () => peer.caller());
        web.serve(socket);
      },
      onRefused,
    }),
  );
  parts.svid.onRotated((credential) => {
    api.setCredential(credential);
    webListener.setCredential(credential);
  });
  stack.use(
    registry.subscribe((changes) => {
      // A client whose authority is gone is refused at each call; only a new connection can show its new SVID.
      if (!changes.some(({ kind }) => kind === "crl" || kind === "bundle")) return;
      // A moment later: streams that end because of it first say why.
      clock.schedule(LAST_WORDS_MS, () => {
        for (const listener of [api, webListener]) void listener.recheck();
      });
    }),
  );
  const admin = new LocalEndpoint({
    path: options.adminSocket,
    mode: 0o600,
    clock,
    log,
    onGrpc: (socket, process) => rpc.injectConnection(socket, localPeer(process)),
    onHttp(socket, process) {
      const peer = localPeer(process);
      callers.set(socket, () => peer.caller());
      adminWeb.serve(socket);
    },
  });
  stack.use(admin);
  await admin.listen();
  // First of all, before any connection is cut: no new ones, and a word to those that are open.
  stack.defer(async () => {
    api.stopAccepting();
    webListener.stopAccepting();
    admin.close();
    await Promise.all([rpc.shutdown(GRACE_MS), web[Symbol.asyncDispose](), adminWeb[Symbol.asyncDispose]()]);
  });

  metrics.observe({
    entries: () => registry.entries.count({}),
    agents: () => registry.nodes.count({}),
    followingAgents: () => services.followingAgents,
    connections: () => rpc.connections,
    tasks: () => parts.serverTasks.tasks.live,
    authorities: () => signing.authorities(),
    keyManagerDegraded: () => parts.keyState?.().status === "degraded",
    svidsUnderWay: () => parts.workloadIssuance.underWay?.count ?? 0,
    upstreamFailing: () => signing.upstream().failing.length,
  });
  const kept = stack.move();
  return {
    addresses: {
      api: { host: options.listen.host, port: api.address.port },
      web: { host: options.webListen.host, port: webListener.address.port },
      adminSocket: options.adminSocket,
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function admit(
  access: Access,
  context: { readonly method: string; readonly peer: ServerPeer },
): AdmittedCaller | Promise<AdmittedCaller> {
  const who = context.peer.caller();
  const role = access.authorize(context.method, who);
  return role instanceof Promise ? role.then((settled) => ({ who, role: settled })) : { who, role };
}

function localPeer({ pid, uid, gid }: PeerProcess): ServerPeer {
  const caller: Caller = { address: "", process: { pid, uid, gid } };
  return { caller: () => caller };
}

function finished(log: RootLog, metrics: ServerMetrics, call: Parameters<ServerMetrics["called"]>[0]): void {
  metrics.called(call);
  const { method, error, duration } = call;
  if (error === undefined) {
    if (log.isEnabled("debug"))
      log.debug("call answered", { [FIELD.method]: method, [FIELD.elapsedMs]: duration });
    return;
  }
  const fields = { [FIELD.method]: method, [FIELD.code]: error.code, [FIELD.detail]: error.detail };
  // What the caller is not told the operator is, with its cause; what a caller did wrong is its own business.
  if (CODES[error.code].audience === "operator")
    log.error("call failed", { ...fields, [FIELD.error]: error });
  else log.debug("call refused", fields);
}

const MAX_MESSAGE = 4 * 1024 * 1024;
const IDLE_MS = 30 * 60_000;
const KEEPALIVE_MS = 60_000;
const GRACE_MS = 2_000;
const LAST_WORDS_MS = 300;
