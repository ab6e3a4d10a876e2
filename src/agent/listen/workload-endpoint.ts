/**
 * agent/listen/ — the sockets of the programs that serve workloads: what is asked on them, and by whom it is answered.
 *
 * Must never know where entries and SVIDs come from.
 * Called by the agent's composition and by the task runner's.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { NamedAttestor } from "../../attestation/attest-workload.ts";
import type { Clock } from "../../clock.ts";
import { LocalEndpoint } from "../../endpoint/local-endpoint.ts";
import type { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { Log } from "../../observe/log.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import { SecretDiscoveryService } from "../../proto/gen/envoy/service/secret/v3/sds_pb.ts";
import { Health } from "../../proto/gen/grpc/health/v1/health_pb.ts";
import { SpiffeWorkloadAPI } from "../../proto/gen/spiffe/workload/workload_pb.ts";
import { HealthBoard } from "../../rpc/health.ts";
import { registerReflection } from "../../rpc/reflection.ts";
import { RpcServer } from "../../rpc/server.ts";
import type { FinishedCall } from "../../rpc/server-options.ts";
import type { Feature } from "../../spiffe/features.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { sdsHandlers } from "../sds/grpc-sds.ts";
import { DEFAULT_SDS_SETTINGS, type SdsSettings } from "../sds/sds-settings.ts";
import { SecretSource } from "../sds/secret-source.ts";
import { admitWorkloadCall, workloadApiHandlers } from "../workload-api/grpc-workload-api.ts";
import { createJsonWorkloadApi } from "../workload-api/json-workload-api.ts";
import type { EvidenceOptions } from "../workload-api/workload-call.ts";
import { type WorkloadLimiters, WorkloadService } from "../workload-api/workload-service.ts";

/** What a Workload Endpoint serves, whom, and how. */
export interface WorkloadEndpointOptions {
  /** The socket. */
  readonly path: string;
  /** Permission bits of the socket. */
  readonly mode: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly cache: AgentCache;
  readonly recorder: WorkloadRecorder;
  /** Whom decisions are recorded for, once it is known. */
  readonly agentId: () => SpiffeId | undefined;
  readonly attestors: readonly NamedAttestor[];
  /** Incubating profiles that are switched on; none unless told. */
  readonly features?: readonly Feature[];
  readonly limiters?: WorkloadLimiters;
  readonly allowUnauthenticatedVerifiers?: boolean;
  readonly allowedForeignJwtClaims?: readonly string[];
  readonly sds?: SdsSettings;
  /** Milliseconds that one workload attestor has; 5 s unless told. */
  readonly attestationTimeout?: number;
  /** Milliseconds that an answer waits for an SVID that is being signed; 5 s unless told. */
  readonly signingPatience?: number;
  readonly onCall?: (call: FinishedCall<unknown>) => void;
}

/** A Workload Endpoint: the Workload API and Envoy's SDS over gRPC, and the Workload API as JSON, on one socket. */
export interface WorkloadEndpoint extends AsyncDisposable {
  /** The same answers, for other sockets of the program. */
  readonly service: WorkloadService;
  readonly evidence: EvidenceOptions;
  readonly health: HealthBoard;
  /** Begins to listen. @throws AssayError `LISTEN_FAILED` naming the path. */
  listen(): Promise<void>;
  /** Takes no more connections. */
  close(): void;
  /** Tells open streams Unavailable, and cuts what is left after so many milliseconds. */
  shutdown(grace: number): Promise<void>;
}

/** Makes a Workload Endpoint that does not listen yet. */
export async function makeWorkloadEndpoint(options: WorkloadEndpointOptions): Promise<WorkloadEndpoint> {
  const { cache, clock, log, attestors, recorder } = options;
  await using stack = new AsyncDisposableStack();
  const isReady = () => cache.synchronised;
  const state = () => (isReady() ? "serving" : "not_serving");
  const health = new HealthBoard({
    "": state,
    SpiffeWorkloadAPI: state,
    [SecretDiscoveryService.typeName]: state,
  });
  const evidence = { attestors, clock, attestationTimeout: options.attestationTimeout ?? 5000 };
  const allowUnauthenticatedVerifiers = options.allowUnauthenticatedVerifiers ?? false;
  const signingPatience = options.signingPatience ?? 5000;
  const service = new WorkloadService({
    ...evidence,
    cache,
    recorder,
    agentId: options.agentId,
    newId: randomUUID,
    allowUnauthenticatedVerifiers,
    allowedForeignJwtClaims: options.allowedForeignJwtClaims ?? [],
    signingPatience,
    ...(options.limiters === undefined ? {} : { limiters: options.limiters }),
  });

  const rpc = new RpcServer<PeerProcess>({
    clock,
    before: admitWorkloadCall,
    maxReceiveMessageSize: MAX_REQUEST,
    ...(options.onCall === undefined ? {} : { onCall: options.onCall }),
  });
  rpc.register(SpiffeWorkloadAPI, workloadApiHandlers(service, options.features ?? []));
  const secrets = new SecretSource({
    service,
    cache,
    clock,
    log,
    recorder,
    settings: options.sds ?? DEFAULT_SDS_SETTINGS,
    allowUnauthenticatedVerifiers,
    signingPatience,
    newNonce: () => randomBytes(8).toString("hex"),
  });
  rpc.register(SecretDiscoveryService, sdsHandlers(secrets));
  rpc.register(Health, health.handlers());
  registerReflection(rpc);
  const json = stack.use(
    await createJsonWorkloadApi({
      service,
      clock,
      log,
      version: options.version,
      newId: randomUUID,
      isReady,
    }),
  );
  const socket = stack.use(
    new LocalEndpoint({
      path: options.path,
      mode: options.mode,
      clock,
      log,
      onGrpc: (connection, peer) => rpc.injectConnection(connection, peer),
      onHttp: (connection, peer) => json.serve(connection, peer),
    }),
  );
  const kept = stack.move();
  return {
    service,
    evidence,
    health,
    listen: () => socket.listen(),
    close: () => socket.close(),
    async shutdown(grace) {
      // Connections are cut only after their last words have left.
      await Promise.all([rpc.shutdown(grace), json[Symbol.asyncDispose]()]);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const MAX_REQUEST = 1024 * 1024;
