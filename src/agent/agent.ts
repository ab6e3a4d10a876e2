/**
 * agent/ — the program on each node: proves the node, follows its server, and tells workloads who they are.
 *
 * Must never know how a server decides or signs; it meets the server on the wire only.
 * Called by the commands.
 */
import { randomUUID } from "node:crypto";
import { agentNodeAttestors, workloadAttestors } from "../attestation/catalog/kinds.ts";
import { loadPlugins } from "../attestation/catalog/load-plugin.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { prepareSocketPath } from "../files/socket-path.ts";
import { WorkloadRecorder } from "../issuance/workload/issuance-record.ts";
import { FIELD } from "../observe/fields.ts";
import { requirePeerIdentification } from "../peer/identify-peer.ts";
import { SelectorIndex } from "../registry/match.ts";
import { type AgentMetrics, agentMetrics } from "./agent-metrics.ts";
import type { AgentDependencies, AgentOptions, RunningAgent } from "./agent-options.ts";
import { followServer } from "./agent-work.ts";
import { AgentCache } from "./cache/agent-cache.ts";
import { learningSigner } from "./cache/learning-signer.ts";
import { randomSpread } from "./cache/rotation.ts";
import type { SyncUpdate } from "./cache/sync-update.ts";
import { CacheKeeper } from "./disk/cache-file.ts";
import { takeDataFolder } from "./disk/data-folder.ts";
import { IdentityFile, type StoredIdentity } from "./disk/identity-file.ts";
import { readTrustBundle } from "./disk/trust-bundle.ts";
import { IdentityKeeper } from "./identity/identity-keeper.ts";
import { bundleDigest, OperatorBundle } from "./identity/operator-bundle.ts";
import { isDenial } from "./link/denial.ts";
import { ServerLink } from "./link/server-link.ts";
import { type AgentListeners, openListeners } from "./listen/agent-listeners.ts";
import { Syncer } from "./sync/syncer.ts";

/**
 * Starts an agent. Everything that can be refused is refused before a listener opens and before the node is attested;
 * then the sockets are there, and callers are told Unavailable until the server was heard or a stored cache serves.
 * @throws AssayError `CONFIG_INVALID`, `STORE_IN_USE`, `LISTEN_FAILED`, `FILE_UNAVAILABLE` or `AUDIT_UNAVAILABLE`, naming
 * the setting or path.
 */
export async function startAgent(options: AgentOptions, deps: AgentDependencies): Promise<RunningAgent> {
  const { clock, log, metrics, version, spread = randomSpread } = deps;
  const { trustDomain, dataDir } = options;
  await using stack = new AsyncDisposableStack();
  requirePeerIdentification();
  stack.use(await takeDataFolder(dataDir));
  for (const path of [options.socketPath, options.adminSocketPath]) await prepareSocketPath(path);
  const file = new IdentityFile(dataDir);
  const stored = await file.read();
  const firstBundle = await bundleFor(options, stored);
  const { trustBundle } = options;
  const operatorBundle = new OperatorBundle(
    trustBundle === undefined ? undefined : () => readTrustBundle(trustBundle, trustDomain),
    stored === undefined ? bundleDigest(firstBundle) : stored.operatorBundle,
  );
  const hostFor = (plugin: string) => ({ trustDomain, clock, log: log.child({ [FIELD.plugin]: plugin }) });
  const nodeAttestor = options.nodeAttestor === undefined ? [] : [options.nodeAttestor];
  const ofNode = stack.use(await loadPlugins(agentNodeAttestors, nodeAttestor, hostFor));
  const ofWorkloads = stack.use(await loadPlugins(workloadAttestors, options.workloadAttestors, hostFor));
  const audit = stack.use(deps.openAudit());

  const work = new AbortController();
  const link = stack.use(new ServerLink({ ...options.server, clock, log }));
  const hooks: { metrics?: AgentMetrics } = {};
  const onServerError = (error: AssayError) => {
    hooks.metrics?.serverFailed(error.code);
    if (isDenial(error.code)) syncer.deny(error);
  };
  const takeOver = (update: SyncUpdate) => {
    const effect = cache.apply(update);
    // Also where the cache knew it before: it has a file of its own.
    if (update.bundle !== undefined) keeper.setBundle(cache.table.bundle);
    return effect;
  };
  const cache: AgentCache = stack.use(
    new AgentCache({
      trustDomain,
      signer: learningSigner(
        () => link.server,
        () => ({ table: cache.table, apply: takeOver }),
      ),
      index: new SelectorIndex(),
      clock,
      spread,
      log,
      keyType: options.keyType ?? "ec-p256",
      agentId: () => keeper.current?.agentId,
      maxJwtSvids: options.jwtSvidCacheSize ?? 1000,
      onError: onServerError,
    }),
  );
  const keeper = stack.use(
    new IdentityKeeper({
      file,
      firstBundle,
      operatorBundle,
      stored,
      attestor: ofNode.all[0],
      link,
      clock,
      spread,
      log,
      onDenied: onServerError,
      onBelieved: () => syncer.hurry(),
    }),
  );
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => undefined);
  const syncer: Syncer = new Syncer({
    server: () => link.server,
    known: () => cache.table.entries,
    apply: takeOver,
    onConnected: () => {
      keeper.heard();
      cache.x509.resume();
      cache.wit.resume();
      const status = { version, bundleSequence: cache.table.bundle.sequence };
      link.server
        .postStatus(status, work.signal)
        .catch((error: unknown) => log.debug("status was not taken", { [FIELD.error]: error }));
    },
    onUnheard: () => keeper.recheck(),
    isNeedy: () => cache.x509.size === 0,
    clock,
    spread,
    log,
    pollInterval: options.syncInterval ?? 5000,
  });
  stack.use(link.onReplaced(() => syncer.restart()));
  const counted = agentMetrics(metrics, cache, syncer);
  hooks.metrics = counted;
  const onDisk = stack.use(new CacheKeeper({ dataDir, clock, log }));
  if (keeper.current !== undefined) await onDisk.restore(cache, keeper.current.agentId);

  const recorder = new WorkloadRecorder({
    append: (records) => audit.append(records),
    newId: randomUUID,
    onDecision: (event, outcome) => counted.decided(event, outcome),
  });
  const startedAt = { serving: cache.synchronised ? clock.now() : 0 };
  const listeners: AgentListeners = stack.use(
    await openListeners({
      ...options,
      clock,
      log,
      metrics,
      version,
      cache,
      syncer,
      keeper,
      recorder,
      audit,
      attestors: ofWorkloads.all,
      onCall: (call) => counted.called(call),
      servingSince: () => startedAt.serving,
    }),
  );
  onDisk.follow(cache, () => keeper.current?.agentId);
  const serving = () => {
    if (!cache.synchronised) return;
    startedAt.serving ||= clock.now();
    listeners.healthChanged();
    ready.resolve();
    watching[Symbol.dispose]();
  };
  const watching = cache.bell.listen(serving);
  serving();

  const kept = stack.move();
  const closed = Promise.withResolvers<Error | undefined>();
  let stopping: Promise<void> | undefined;
  const stop = (error?: Error): Promise<void> => {
    stopping ??= (async () => {
      work.abort();
      ready.reject(error ?? new AssayError("SHUTTING_DOWN", "the agent was stopped before it was ready"));
      try {
        await listeners.shutdown(SHUTDOWN_GRACE);
        await following;
        await keeper.flush();
      } finally {
        await kept.disposeAsync();
        closed.resolve(error);
      }
    })();
    return stopping;
  };
  const following = followServer({ keeper, syncer, clock, log, spread, signal: work.signal }).catch(
    async (thrown: unknown) => {
      const error = toAssayError(thrown);
      if (work.signal.aborted) return;
      if (error.code === "AGENT_BANNED") {
        await onDisk
          .wipe()
          .catch((cause: unknown) => log.error("cache cannot be removed", { [FIELD.error]: cause }));
      }
      log.error("the agent cannot go on", { [FIELD.error]: error });
      // Not awaited: stopping waits for this very promise.
      void stop(error);
    },
  );
  return {
    ready: ready.promise,
    closed: closed.promise,
    get agentId() {
      return keeper.current?.agentId;
    },
    [Symbol.asyncDispose]: () => stop(),
  };
}

/** What servers are believed by until one has told us better. */
async function bundleFor({ trustDomain, trustBundle }: AgentOptions, stored: StoredIdentity | undefined) {
  if (stored !== undefined && stored.bundle.trustDomain !== trustDomain) {
    throw new AssayError(
      "CONFIG_INVALID",
      `trust_domain is ${trustDomain}, but data_dir holds an agent of ${stored.bundle.trustDomain}`,
    );
  }
  if (stored !== undefined) return stored.bundle;
  if (trustBundle === undefined) {
    throw new AssayError(
      "CONFIG_INVALID",
      "trust_bundle is missing: give a file with the server's bundle by --trust-bundle (assay bundle show writes it)",
    );
  }
  return readTrustBundle(trustBundle, trustDomain);
}

const SHUTDOWN_GRACE = 2000;
