/**
 * server/ — the authority of one trust domain: composition, listeners, API services.
 *
 * Must never know a command line or a configuration file, nor anything of the agent but the wire between them.
 * Called by the commands.
 */
import { SvidsUnderWay } from "../issuance/svids-under-way.ts";
import { spireName } from "../crypto/x501-name.ts";
import { createComposing } from "../issuance/composing.ts";
import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import { ensurePrivateFolder } from "../files/private-folder.ts";
import { prepareSocketPath } from "../files/socket-path.ts";
import { openAuditLog } from "../observe/audit-log.ts";
import { FIELD } from "../observe/fields.ts";
import type { RootLog } from "../observe/log.ts";
import { openRegistry } from "../registry/registry.ts";
import { openSigning } from "../signing/open-signing.ts";
import type { Signing } from "../signing/signing.ts";
import { serverId } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import { replaceAuthorities } from "./backup/replace-authorities.ts";
import { tellRestored } from "./backup/tell-restored.ts";
import { createAccess } from "./access/access.ts";
import { orderedUuid } from "./entry-id.ts";
import { policyOptions, signingOptions } from "./derived-options.ts";
import { openFaces } from "./faces.ts";
import { openBundleEndpoint } from "./federation/bundle-endpoint.ts";
import { NO_FEDERATION } from "./federation/federation-options.ts";
import { openFederation } from "./federation/federation.ts";
import { createHealth, degradedChecks } from "./health.ts";
import { startHousekeeping } from "./housekeeping.ts";
import { createServerLimits } from "./limits.ts";
import { createClientSvidVerifier } from "../endpoint/client-svid.ts";
import { requireFreePort } from "../endpoint/tls-listener.ts";
import { federationOperations } from "./operations/federation-operations.ts";
import { createOperations } from "./operations/operations.ts";
import { revokeOperations } from "./operations/revoke-operations.ts";
import type { ServerOptions } from "./options.ts";
import type { RunningServer } from "./running-server.ts";
import { ownServerId } from "./own-server-id.ts";
import {
  checkServerPlugins,
  loadCredentialComposers,
  loadKeyManager,
  loadNodeAttestors,
  loadTaskAttestors,
  loadUpstreamAuthority,
} from "./plugins.ts";
import { pooledRandom, randomFraction } from "./random.ts";
import { attestedNodes, downstreamEntries, operatedEntries, operatedNodes } from "./registry-port.ts";
import { createServerMetrics } from "./server-metrics.ts";
import { longestLife, openServerRevocation, signersOf, x509AuthorityIds } from "./server-revocation.ts";
import { ServerSvid } from "./server-svid.ts";
import { logSigningEvent } from "./signing-log.ts";
import { logAlarms } from "./tasks/log-alarms.ts";
import { openServerTasks } from "./tasks/server-tasks.ts";
import { spareDenials } from "./tasks/spare-denials.ts";

/** What a server is given beside its options. */
export interface ServerDependencies {
  readonly clock: Clock;
  readonly log: RootLog;
  /** The program's version, for the API's description. */
  readonly version: string;
}

/**
 * Starts a server: store, audit log, keys, authorities, registry, plugins, and last the listeners, so that whatever is
 * wrong is said before anybody can connect.
 * @throws AssayError `CONFIG_INVALID`, `STORE_IN_USE`, `STORE_TOO_NEW`, `STORE_OUTDATED`, `STORE_UNAVAILABLE`, `KEY_FILE_INVALID`,
 * `AUDIT_UNAVAILABLE`, `LISTEN_FAILED`, `UPSTREAM_UNAVAILABLE`, `UPSTREAM_REFUSED`; nothing is left running then.
 */
export async function startServer(
  options: ServerOptions,
  dependencies: ServerDependencies,
): Promise<RunningServer> {
  const { clock, log, version } = dependencies;
  const { trustDomain, dataDir } = options;
  const startedAt = clock.now();
  await using stack = new AsyncDisposableStack();
  const metrics = createServerMetrics();

  await checkServerPlugins(options);
  await ensurePrivateFolder(dataDir, { code: "STORE_UNAVAILABLE" });
  // First of all that is kept: its lock is what refuses a second server on one folder.
  const store = stack.use(
    await openSqliteStore({
      folder: dataDir,
      trustDomain,
      clock,
      onMarkFault: (error) =>
        log.error("the store's high-water mark cannot be written, so an older store would not be noticed", {
          [FIELD.error]: error,
        }),
    }),
  );
  const restored = await store.backups.restored();
  // Three doors open or none: what is taken is found before the first of them opens, and before keys are made.
  await prepareSocketPath(options.adminSocket);
  await requireFreePort(options.listen);
  await requireFreePort(options.webListen);
  const endpoint = options.federation?.bundleEndpoint;
  if (endpoint !== undefined) await requireFreePort(endpoint.listen);
  const auditFile = stack.use(
    openAuditLog({
      ...options.audit,
      clock,
      onError: (error) => log.error("audit log damaged or in trouble", { [FIELD.error]: error }),
    }),
  );
  const audit = {
    append(records: Parameters<typeof auditFile.append>[0]) {
      auditFile.append(records);
      metrics.decided(records);
      logAlarms(log, records);
    },
    async appendSoon(records: Parameters<typeof auditFile.append>[0]) {
      await auditFile.appendSoon(records);
      metrics.decided(records);
      logAlarms(log, records);
    },
  };

  const surroundings = { trustDomain, clock, log };
  const { keyManager, state: keyState } = stack.use(
    await loadKeyManager(options.keyManager, dataDir, surroundings),
  );
  const { upstream } = stack.use(await loadUpstreamAuthority(options.upstreamAuthority, surroundings));
  const signing = stack.use(
    await openSigning({
      trustDomain,
      store,
      keyManager,
      upstream,
      clock,
      random: pooledRandom(),
      options: signingOptions(options, await ownServerId(dataDir)),
      report: (event) => logSigningEvent(log, audit, event),
    }),
  );
  if (restored !== undefined) {
    await tellRestored({ restored, backups: store.backups, log, audit });
    stack.use(
      replaceAuthorities({
        restored,
        backups: store.backups,
        signing,
        clock,
        log,
        audit,
        refreshHint: options.federation?.bundleEndpoint?.refreshHint,
      }),
    );
  }
  const registry = stack.use(
    await openRegistry({
      store,
      trustDomain,
      clock,
      randomUuid: orderedUuid(clock, randomBytes),
      onFault: (error) => log.error("the registry cannot follow the store", { [FIELD.error]: error }),
    }),
  );
  const nodes = attestedNodes(registry, (outcome) =>
    log.warn("join token refused", { [FIELD.detail]: outcome }),
  );
  const { attestors } = stack.use(
    await loadNodeAttestors(options.nodeAttestors, surroundings, (token) => nodes.consumeJoinToken(token)),
  );
  const { attestors: taskAttestors } = stack.use(
    await loadTaskAttestors(options.taskAttestors ?? [], surroundings, options.jwtIssuer ?? ""),
  );
  const { composers } = stack.use(
    await loadCredentialComposers(options.credentialComposers ?? [], surroundings),
  );
  const composing = createComposing({ composers, subject: spireName("SPIRE"), clock });
  stack.use(startHousekeeping({ registry, store, clock, log }));

  const access = createAccess({
    trustDomain,
    clock,
    adminIds: new Set(options.adminIds),
    facts: {
      node: (id) => registry.nodes.get(id),
      hasFlag: (id, flag) => registry.entries.hasFlag(id, flag),
      activatePending: (id, serial) => registry.nodes.activatePending(id, serial),
    },
  });
  const bundleOf = (name: TrustDomain) => (name === trustDomain ? signing.bundle() : registry.bundle(name));
  const operations = createOperations({
    trustDomain,
    entries: operatedEntries(registry),
    nodes: operatedNodes(registry),
    bundles: store.bundles,
    signing,
    crls: store.crls,
    ownAuthorities: async () => x509AuthorityIds(await store.authorities.list()),
    bundleOf,
    clock,
    audit,
  });
  const federation = stack.use(
    await openFederation({
      options: options.federation ?? NO_FEDERATION,
      clock,
      log,
      metrics,
      random: randomFraction,
      store,
      registry,
      bundleOf,
      audit,
    }),
  );
  const underWay = new SvidsUnderWay();
  const decisions = { audit, newDecisionId: randomUUID, underWay };
  const policy = policyOptions(options);
  const svidOptions = { ...decisions, trustDomain, clock, policy, composing, signing };
  const limits = createServerLimits(options.rateLimit, clock);
  const serverTasks = stack.use(
    await openServerTasks({
      ...svidOptions,
      audit: spareDenials(audit, limits.denials),
      store,
      registry,
      log,
      attestors: taskAttestors,
      issuer: options.jwtIssuer,
      restoredAt: restored?.at,
      settings: options.tasks,
      witSvids: options.features.includes("wit-svid"),
      searchAudit: (match, limit) => auditFile.search(match, limit),
    }),
  );
  const { revocation, publisher, lists } = stack.use(
    await openServerRevocation({
      trustDomain,
      clock,
      log,
      store,
      registry,
      signing,
      restored,
      issuer: options.jwtIssuer,
    }),
  );
  stack.use(
    serverTasks.tasks.onEnding(async () => {
      const began = clock.now();
      await publisher.settle();
      metrics.endPublished((clock.now() - began) / 1000);
    }),
  );
  const svid = stack.use(await openServerSvid(options, signing, clock, log));

  const faces = stack.use(
    await openFaces({
      options,
      clock,
      log,
      version,
      startedAt,
      metrics,
      store,
      registry,
      signing,
      access,
      operations,
      federation,
      federationOperations: federationOperations({
        relationships: store.federation,
        federation,
        catchUp: () => registry.catchUp(),
        audit,
      }),
      audit,
      svid,
      limits,
      verifier: createClientSvidVerifier({
        clock,
        // Foreign trust domains may name administrators too, and are then verified by their own bundle.
        bundleOf,
        crlsOf: (name) => registry.crls(name),
      }),
      findDecision: (id) => auditFile.find(id),
      backup: { source: { copyTo: (path) => store.backups.copyTo(path), dataDir, clock, version }, audit },
      keyState,
      health: createHealth({ store, signing, clock, degraded: () => degradedChecks(signing, keyState) }),
      agentIssuance: { ...svidOptions, attestors, nodes },
      serverTasks,
      lists,
      revoked: publisher,
      revokeOperations: revokeOperations({
        revocation,
        publisher,
        taskIssuance: serverTasks.issuance,
        agents: operations,
        ownBundle: () => signersOf(signing),
        credentials: store.credentials,
        searchAudit: (match, limit) => auditFile.search(match, limit),
        longestLife: () => longestLife(signing, options.caTtl),
        clock,
        audit,
      }),
      downstreamIssuance: {
        ...svidOptions,
        caTtl: options.caTtl,
        downstreamEntries: (id) => downstreamEntries(registry, id, clock),
      },
      workloadIssuance: {
        ...svidOptions,
        authorizedEntry: (agent, entryId) => registry.entries.authorizedEntry(agent, entryId),
      },
    }),
  );
  const bundleEndpoint =
    endpoint === undefined
      ? undefined
      : stack.use(
          await openBundleEndpoint({
            options: endpoint,
            dataDir,
            clock,
            log,
            metrics,
            random: randomFraction,
            bundle: () => signing.bundle(),
            longestRefreshHint: () => signing.longestRefreshHint(),
            svid,
          }),
        );
  const kept = stack.move();
  const addresses = {
    ...faces.addresses,
    ...(bundleEndpoint !== undefined && { bundleEndpoint: bundleEndpoint.address }),
  };
  return { addresses, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function openServerSvid(
  options: ServerOptions,
  signing: Signing,
  clock: Clock,
  log: RootLog,
): Promise<ServerSvid> {
  return ServerSvid.open({
    spiffeId: serverId(options.trustDomain),
    ttl: options.agentTtl,
    signing,
    clock,
    dnsNames: ["localhost"],
    onFailed: (error) => log.error("the server's own SVID cannot be renewed", { [FIELD.error]: error }),
    report: ({ serial, notAfter }) =>
      log.info("the server's own SVID was renewed", { [FIELD.serial]: serial, [FIELD.expiresAt]: notAfter }),
  });
}
