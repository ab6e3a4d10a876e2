import { randomBytes, randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import type { HttpApp } from "../http/http-app.ts";
import type { Caller } from "../issuance/caller.ts";
import type { AuditRecord, StoredAuditRecord } from "../observe/audit-record.ts";
import type { RootLog } from "../observe/log.ts";
import type { Registry } from "../registry/registry.ts";
import type { Signing } from "../signing/signing.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { Store } from "../store/store.ts";
import type { Access } from "./access/access.ts";
import type { Federation } from "./federation/federation.ts";
import type { Health } from "./health.ts";
import type { ServerLimits } from "./limits.ts";
import { createOAuth, type OAuth } from "./oauth/oauth.ts";
import type { FederationOperations } from "./operations/federation-operations.ts";
import type { Operations } from "./operations/operations.ts";
import type { ServerOptions } from "./options.ts";
import type { RevokeOperations } from "./operations/revoke-operations.ts";
import type { RevocationListOptions } from "./revocation/revocation-list-routes.ts";
import type { ServerMetrics } from "./server-metrics.ts";
import type { ServerTasks } from "./tasks/server-tasks.ts";
import { buildWebApp } from "./web/web-app.ts";

/** What the web applications of a server are made of. */
export interface WebFaceParts {
  readonly options: ServerOptions;
  readonly clock: Clock;
  readonly log: RootLog;
  readonly metrics: ServerMetrics;
  readonly store: Store;
  readonly registry: Registry;
  readonly signing: Signing;
  readonly access: Access;
  readonly operations: Operations;
  readonly audit: { append(records: readonly AuditRecord[]): void };
  readonly federation: Federation;
  readonly federationOperations: FederationOperations;
  readonly limits: ServerLimits;
  readonly findDecision: (id: string) => Promise<StoredAuditRecord | undefined>;
  readonly health: Health;
  readonly serverTasks: ServerTasks;
  readonly revokeOperations: RevokeOperations;
  /** What is public of revocation. */
  readonly lists: RevocationListOptions["lists"];
}

type CallerOf = (socket: Socket) => Caller;

/**
 * Makes the application of one door.
 * @param closeGrace Milliseconds that open requests are given when it closes.
 */
export function openWebFace(
  parts: WebFaceParts,
  face: "web" | "admin",
  callerOf: CallerOf,
  closeGrace: number,
): Promise<HttpApp> {
  const { options, clock, log, metrics, signing, registry, access, operations, audit } = parts;
  const { limits, health, store, serverTasks } = parts;
  const { trustDomain } = options;
  // Jobs and relying parties come over the network; nobody else needs what is for them.
  const oauth = face === "web" ? oauthOf(parts, callerOf) : undefined;
  const bundleOf = (name: TrustDomain) => (name === trustDomain ? signing.bundle() : registry.bundle(name));
  return buildWebApp({
    face,
    clock,
    log,
    requestId: randomUUID,
    closeGrace,
    callerOf,
    access,
    audit,
    refusals: limits.refusals,
    health: () => health.state(),
    metrics,
    metricsReaders: options.metricsReaders === "anyone" ? "anyone" : new Set(options.metricsReaders),
    ...oidcOf(options),
    signing,
    trustDomain,
    registry,
    operations,
    revokeOperations: parts.revokeOperations,
    bundles: store.bundles,
    federation: parts.federation,
    federationOperations: parts.federationOperations,
    bundleOf,
    decisions: { find: parts.findDecision },
    taskRecords: store.tasks,
    credentials: store.credentials,
    taskIssuance: serverTasks.issuance,
    taskExplanation: serverTasks.explanation,
    ...(face === "web" && { lists: parts.lists }),
    oauth,
    oauthMetadata: oauth?.metadata,
    ...(oauth !== undefined && serverTasks.attestors.size > 0 && taskFace(parts, oauth, callerOf, bundleOf)),
  });
}

function oauthOf({ serverTasks, limits, log }: WebFaceParts, callerOf: CallerOf): OAuth | undefined {
  const { exchange, attestors, issuance } = serverTasks;
  if (exchange === undefined) return undefined;
  return createOAuth({
    exchange,
    ...(attestors.size > 0 && { openTask: (caller, request) => issuance.open(caller, request) }),
    callerOf,
    limit: limits.tokens,
    log,
    random: randomBytes,
    statusListAggregation: `${exchange.issuer.replace(/\/$/, "")}/oauth2/status-lists`,
  });
}

/** What jobs and their platforms call, where there are task attestors. */
function taskFace(
  { options, serverTasks, registry, limits, audit }: WebFaceParts,
  { taskGuard }: OAuth,
  callerOf: CallerOf,
  bundleOf: Parameters<typeof buildWebApp>[0]["bundleOf"],
) {
  const { tasks, issuance: taskIssuance, attestors } = serverTasks;
  return {
    taskApi: {
      trustDomain: options.trustDomain,
      taskGuard,
      callerOf,
      taskLimit: limits.tasks,
      taskIssuance,
      bundleOf,
      crlsOf: (name: TrustDomain) => registry.crls(name),
    },
    taskWebhooks: { attestors, tasks, taskIssuance, callerOf, audit, refusals: limits.refusals },
  };
}

function oidcOf({ jwtIssuer, oidcDomains, jwksUri }: ServerOptions) {
  if (jwtIssuer === undefined && oidcDomains.length === 0) return {};
  return {
    oidc: {
      domains: oidcDomains,
      ...(jwtIssuer !== undefined && { issuer: jwtIssuer }),
      ...(jwksUri !== undefined && { jwksUri }),
    },
  };
}
