import type { Clock } from "../../clock.ts";
import type { AgentIssuanceOptions } from "../../issuance/agents.ts";
import type { DownstreamIssuanceOptions } from "../../issuance/downstream-ca.ts";
import type { WorkloadIssuanceOptions } from "../../issuance/x509-svids.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";
import type { RootLog } from "../../observe/log.ts";
import { AgentSync } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import { Backup } from "../../proto/gen/assay/api/server/v1/backup_pb.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import { Revocation } from "../../proto/gen/assay/api/server/v1/revocation_pb.ts";
import { Health as HealthService } from "../../proto/gen/grpc/health/v1/health_pb.ts";
import { Agent } from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Debug } from "../../proto/gen/spire/api/server/debug/v1/debug_pb.ts";
import { Entry } from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { Logger } from "../../proto/gen/spire/api/server/logger/v1/logger_pb.ts";
import { TrustDomain as TrustDomainService } from "../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { Registry } from "../../registry/registry.ts";
import { HealthBoard } from "../../rpc/health.ts";
import { registerReflection } from "../../rpc/reflection.ts";
import type { RpcServer } from "../../rpc/server.ts";
import type { Signing } from "../../signing/signing.ts";
import type { Feature } from "../../spiffe/features.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { Store } from "../../store/store.ts";
import type { Access } from "../access/access.ts";
import type { AdmittedCaller, ServerPeer } from "../call.ts";
import type { Health } from "../health.ts";
import type { ServerLimits } from "../limits.ts";
import type { FederationOperations } from "../operations/federation-operations.ts";
import type { Operations } from "../operations/operations.ts";
import type { ServerSvid } from "../server-svid.ts";
import { agentService } from "./agent-service.ts";
import { agentSyncService, type RevokedTokenFeed } from "./agent-sync-service.ts";
import { authorityService } from "./authority-service.ts";
import { type BackupServiceOptions, backupService } from "./backup-service.ts";
import { bundleService } from "./bundle-service.ts";
import { debugService } from "./debug-service.ts";
import { downstreamBundleHandlers, downstreamSvidHandlers } from "./downstream-handlers.ts";
import { entryService } from "./entry-service.ts";
import { explainService } from "./explain-service.ts";
import { loggerService } from "./logger-service.ts";
import { revocationService } from "./revocation-service.ts";
import { svidService } from "./svid-service.ts";
import { trustDomainService } from "./trust-domain-service.ts";

/** What the gRPC services are made of. */
export interface ServiceParts {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: RootLog;
  /** Unix milliseconds. */
  readonly startedAt: number;
  readonly store: Pick<Store, "bundles" | "crls" | "federation">;
  readonly federationOperations: FederationOperations;
  readonly registry: Registry;
  readonly signing: Signing;
  readonly access: Access;
  readonly operations: Operations;
  readonly svid: Pick<ServerSvid, "svid">;
  readonly limits: ServerLimits;
  readonly health: Health;
  readonly agentIssuance: AgentIssuanceOptions;
  readonly workloadIssuance: WorkloadIssuanceOptions;
  readonly downstreamIssuance: DownstreamIssuanceOptions;
  readonly features: readonly Feature[];
  /** The tokens that agents refuse; none where absent. */
  readonly revoked?: RevokedTokenFeed | undefined;
  readonly backup: BackupServiceOptions;
  readonly findDecision: (id: string) => Promise<StoredAuditRecord | undefined>;
}

/** What lives as long as the services do. */
export interface RegisteredServices extends Disposable {
  /** How many agents have a stream of changes open. */
  readonly followingAgents: number;
}

/** Registers every service of the server. */
export function registerServices(
  rpc: RpcServer<ServerPeer, AdmittedCaller>,
  parts: ServiceParts,
): RegisteredServices {
  const { trustDomain, clock, registry, signing, store, operations, limits, access, health } = parts;
  rpc.register(
    Agent,
    agentService({ trustDomain, issuance: parts.agentIssuance, operations, limits, nodes: registry.nodes }),
  );
  rpc.register(Entry, entryService({ operations, entries: registry.entries }));
  const wit = parts.features.includes("wit-svid");
  const downstream = { issuance: parts.downstreamIssuance, signing, operations, limits, clock, wit };
  rpc.register(SVID, {
    ...svidService({ issuance: parts.workloadIssuance, limits, wit }),
    ...downstreamSvidHandlers(downstream),
  });
  rpc.register(Bundle, {
    ...bundleService({
      ownBundle: () => signing.bundle(),
      bundles: store.bundles,
      operations,
      limits,
      log: parts.log,
      wit,
    }),
    ...downstreamBundleHandlers(downstream),
  });
  rpc.register(LocalAuthority, authorityService({ signing, operations, wit }));
  rpc.register(
    TrustDomainService,
    trustDomainService({ trustDomain, store, operations: parts.federationOperations, log: parts.log }),
  );
  rpc.register(Logger, loggerService(parts.log));
  rpc.register(
    Debug,
    debugService({
      clock,
      startedAt: parts.startedAt,
      chain: () => parts.svid.svid.chain,
      counts: async () => ({
        agents: registry.nodes.count({}),
        entries: registry.entries.count({}),
        federatedBundles: (await store.bundles.list()).filter((bundle) => bundle.trustDomain !== trustDomain)
          .length,
      }),
    }),
  );
  rpc.register(Revocation, revocationService({ crls: store.crls, operations }));
  rpc.register(Backup, backupService(parts.backup));
  rpc.register(Explain, explainService({ clock, registry, findDecision: parts.findDecision }));
  const sync = agentSyncService({
    access,
    clock,
    revoked: parts.revoked,
    registry: {
      trustDomain,
      entries: registry.entries,
      bundle: (name) => registry.bundle(name),
      crls: (name) => registry.crls(name),
      agentsAffectedBy: (changes) => registry.agentsAffectedBy(changes),
      subscribe: (listener) => registry.subscribe(listener),
      get sequence() {
        return registry.sequence;
      },
    },
  });
  rpc.register(AgentSync, sync.handlers);
  const board = new HealthBoard({ "": () => (health.state().ready ? "serving" : "not_serving") });
  health.onChange(() => board.changed());
  rpc.register(HealthService, board.handlers());
  registerReflection(rpc);
  return {
    get followingAgents() {
      return sync.watchers;
    },
    [Symbol.dispose]: () => sync[Symbol.dispose](),
  };
}
