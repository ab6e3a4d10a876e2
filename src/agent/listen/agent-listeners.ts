import { randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { LocalEndpoint } from "../../endpoint/local-endpoint.ts";
import { RateLimiter } from "../../issuance/rate-limiter.ts";
import type { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { AuditLog } from "../../observe/audit-log.ts";
import type { Log } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import type { WorkloadAttestor } from "../../plugin/workload-attestor.ts";
import { Explain } from "../../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Status } from "../../proto/gen/assay/api/agent/v1/status_pb.ts";
import { DelegatedIdentity } from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import { Health } from "../../proto/gen/grpc/health/v1/health_pb.ts";
import { registerReflection } from "../../rpc/reflection.ts";
import { RpcServer } from "../../rpc/server.ts";
import type { FinishedCall } from "../../rpc/server-options.ts";
import { admitAdminCall, isOwnUser } from "../admin/admit-admin-call.ts";
import { createAdminHttp } from "../admin/admin-http.ts";
import { explainHandlers } from "../admin/explain-handlers.ts";
import { refuseHttp } from "../admin/refuse-http.ts";
import { statusHandlers } from "../admin/status-handlers.ts";
import type { AgentOptions, WorkloadRateLimits } from "../agent-options.ts";
import { openBrokerEndpoint } from "../broker/broker-endpoint.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { delegatedIdentityHandlers } from "../delegated/grpc-delegated-identity.ts";
import type { IdentityKeeper } from "../identity/identity-keeper.ts";
import type { Syncer } from "../sync/syncer.ts";
import type { WorkloadLimiters } from "../workload-api/workload-service.ts";
import { makeWorkloadEndpoint } from "./workload-endpoint.ts";

/** What the listeners serve, and how. */
export interface AgentListenersOptions extends AgentOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
  readonly cache: AgentCache;
  readonly syncer: Syncer;
  readonly keeper: IdentityKeeper;
  readonly recorder: WorkloadRecorder;
  readonly audit: AuditLog;
  readonly attestors: readonly { readonly name: string; readonly instance: WorkloadAttestor }[];
  readonly onCall: (call: FinishedCall<unknown>) => void;
  /** Unix milliseconds, 0 before that. */
  readonly servingSince: () => number;
}

/** The agent's two sockets at work. */
export interface AgentListeners extends AsyncDisposable {
  /** Tells those who watch the health that it may have changed. */
  healthChanged(): void;
  /** Takes no more connections, tells open streams Unavailable, and cuts what is left after so many milliseconds. */
  shutdown(grace: number): Promise<void>;
}

/** Opens the Workload Endpoint and the admin socket. @throws AssayError `LISTEN_FAILED` naming the path. */
export async function openListeners(options: AgentListenersOptions): Promise<AgentListeners> {
  const { cache, clock, log, metrics, syncer, keeper, version } = options;
  await using stack = new AsyncDisposableStack();
  const workload = stack.use(
    await makeWorkloadEndpoint({
      ...options,
      path: options.socketPath,
      mode: 0o777,
      agentId: () => keeper.current?.agentId,
      ...(options.rateLimit === "off" ? {} : { limiters: limitersOf(options.rateLimit, clock) }),
    }),
  );
  const { service, evidence, health } = workload;

  const adminRpc = new RpcServer<PeerProcess>({
    clock,
    before: admitAdminCall,
    maxReceiveMessageSize: MAX_REQUEST,
  });
  adminRpc.register(DelegatedIdentity, delegatedIdentityHandlers({ ...options, ...evidence, service }));
  adminRpc.register(Explain, explainHandlers({ ...evidence, cache, audit: options.audit }));
  adminRpc.register(
    Status,
    statusHandlers({ cache, syncer, keeper, version, servingSince: options.servingSince }),
  );
  adminRpc.register(Health, health.handlers());
  registerReflection(adminRpc);
  const adminHttp = stack.use(
    await createAdminHttp({
      clock,
      log,
      metrics,
      version,
      newId: randomUUID,
      isReady: () => cache.synchronised,
    }),
  );
  const admin = stack.use(
    new LocalEndpoint({
      path: options.adminSocketPath,
      mode: options.adminSocketMode ?? 0o600,
      clock,
      log,
      onGrpc: (socket, peer) => adminRpc.injectConnection(socket, peer),
      onHttp: (socket, peer) => (isOwnUser(peer) ? adminHttp.serve(socket) : refuseHttp(socket)),
    }),
  );
  await admin.listen();
  await workload.listen();
  const settings = options.features?.includes("broker") === true ? options.broker : undefined;
  const broker =
    settings === undefined
      ? undefined
      : stack.use(await openBrokerEndpoint({ ...options, ...evidence, service, settings }));
  const kept = stack.move();
  return {
    healthChanged: () => health.changed(),
    async shutdown(grace) {
      workload.close();
      admin.close();
      // Connections are cut only after their last words have left.
      await Promise.all([
        workload.shutdown(grace),
        adminRpc.shutdown(grace),
        broker?.shutdown(grace),
        adminHttp[Symbol.asyncDispose](),
      ]);
      await kept.disposeAsync();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** A machine that boots starts many workloads of one user at once, so the burst is some seconds' worth. */
function limitersOf(limits: WorkloadRateLimits, clock: Clock): WorkloadLimiters {
  const limiter = (perSecond: number) =>
    new RateLimiter({ perSecond, burst: perSecond * BURST_SECONDS }, clock);
  return {
    x509Svid: limiter(limits.x509Svid),
    jwtSvid: limiter(limits.jwtSvid),
    bundles: limiter(limits.bundles),
    validation: limiter(limits.validation),
  };
}

const MAX_REQUEST = 1024 * 1024;
const BURST_SECONDS = 10;
