/**
 * agent/task/ — an agent for one process tree, whose server is the task API: opens a task, runs a command with it, ends it.
 *
 * Must never know how a platform makes its tokens, nor how a server judges them.
 * Called by the commands.
 */
import { createPrivateKey, randomUUID } from "node:crypto";
import { join } from "node:path";
import { mkdir } from "node:fs/promises";
import type { JobPlatform, Variables } from "../../attestation/task/platforms/job-platform.ts";
import type { Clock } from "../../clock.ts";
import { generateEcKeyPair } from "../../crypto/keys.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { requirePeerIdentification } from "../../peer/identify-peer.ts";
import { becomeSubreaper, reapOrphans, refuseInspection } from "../../peer/process-tree.ts";
import { SelectorIndex } from "../../registry/match.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { AgentCache } from "../cache/agent-cache.ts";
import { learningSigner } from "../cache/learning-signer.ts";
import { randomSpread, type Spread } from "../cache/rotation.ts";
import { makeWorkloadEndpoint } from "../listen/workload-endpoint.ts";
import { startCommand, statusOfSignal } from "./child.ts";
import { type TaskBundles, TaskClient } from "./client.ts";
import { endTask } from "./end-task.ts";
import { keepLease } from "./lease-keeper.ts";
import { openTask } from "./open-task.ts";
import { persist } from "./persist.ts";
import { RunSignals } from "./run-signals.ts";
import { taskRecorder } from "./task-recorder.ts";
import { type ServerTrust, serverProof, webAuthorities } from "./server-trust.ts";
import { jobSurroundings } from "./surroundings.ts";
import { keepSvidFiles } from "./svid-files.ts";
import { isTaskOver, type TaskFacts } from "./task-answers.ts";
import { makeTaskFolder, type TaskFolder } from "./task-folder.ts";
import { taskServer } from "./task-server.ts";
import { NOTHING, TASK_ID_VARIABLE, TaskState, trustDomainOfTask } from "./task-state.ts";
import { treeAttestor } from "./tree-attestor.ts";
import { createWebClient } from "./web-client.ts";

/** What a task is run with. */
export interface TaskRunOptions {
  /** The server's issuer URL. */
  readonly server: string;
  readonly trust: ServerTrust;
  readonly platform: JobPlatform;
  /** Of the platform's token, where it lets jobs choose. */
  readonly audience: string;
  /** The command and its arguments. */
  readonly command: readonly string[];
  /** The environment that the runner was started in; the command gets it too. */
  readonly variables: Variables;
  /** Whether the command is kept from what the platform's tokens are had by. */
  readonly hidePlatformToken: boolean;
  /** Where the private folder may be, the best place first. */
  readonly folders: readonly (string | undefined)[];
  /** Which identity is for files and variables; the task's first unless told. */
  readonly spiffeId?: SpiffeId;
  /** Whether the X509-SVID is kept as files. */
  readonly writeFiles: boolean;
  /** JWT-SVIDs kept as files: names and audiences. */
  readonly jwtFiles: ReadonlyMap<string, Audience>;
  /** JWT-SVIDs in variables of the command: names and audiences. */
  readonly jwtVariables: ReadonlyMap<string, Audience>;
}

/** What running a task stands on. */
export interface TaskRunDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** Hands over this process's signals, which then end nothing by themselves, until disposed. */
  readonly takeSignals: (listener: (signal: NodeJS.Signals) => void) => Disposable;
  /** Whether this process and its command share a terminal. */
  readonly hasTerminal: boolean;
  /** Aborted where this process cannot go on. */
  readonly signal: AbortSignal;
  /** A number in [0, 1) for spreading; random unless told. */
  readonly spread?: Spread;
}

/**
 * Runs a command as a task and gives its exit status, as a shell would. The task is over when the promise settles, whatever
 * became of the command; only a server that cannot be reached learns it from the lease.
 * @throws AssayError where the command was not started: no platform's token, no task, no socket.
 */
export async function runTask(options: TaskRunOptions, deps: TaskRunDependencies): Promise<number> {
  const { clock, log, spread = randomSpread } = deps;
  requirePeerIdentification();
  becomeSubreaper();
  await using stack = new AsyncDisposableStack();
  const setUp = new AbortController();
  const signals = stack.use(
    new RunSignals({
      clock,
      take: deps.takeSignals,
      hasTerminal: deps.hasTerminal,
      onStop: (signal) => setUp.abort(new AssayError("CANCELLED", `stopped by ${signal}`)),
      onLate: () => {
        log.warn("the command has not ended, the task ends without it");
        void ended();
      },
    }),
  );
  // The task's key will be in this memory, and whoever has it is the task. After the signals were taken: one of them
  // lets a debugger in.
  refuseInspection();
  deps.signal.addEventListener("abort", () => setUp.abort(deps.signal.reason), { once: true });
  setUp.signal.throwIfAborted();

  const proof = await serverProof(options.trust, clock);
  const common = { clock, timeout: REQUEST_TIMEOUT, maxBytes: MAX_ANSWER, proxy: options.variables };
  const web = stack.use(createWebClient({ ...common, proof }));
  const platformWeb = stack.use(
    createWebClient({ ...common, proof: { kind: "web", authorities: webAuthorities() } }),
  );
  const { pkcs8 } = generateEcKeyPair("ec-p256");
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  pkcs8.fill(0);
  const client = new TaskClient({ server: options.server, web, key, clock, newId: randomUUID });

  const keeping = new AbortController();
  let withdraw = () => {};
  let ending: Promise<void> | undefined;
  const ended = (): Promise<void> => {
    keeping.abort();
    withdraw();
    ending ??= endTask({ client, clock, spread, log });
    return ending;
  };
  try {
    // What this machine lacks shows before the platform's token is used up.
    const folder = stack.use(await makeTaskFolder(options.folders));
    const job = jobSurroundings(options.variables, platformWeb);
    const { platform, audience } = options;
    const facts = await openTask({ client, platform, job, audience, clock, spread, log }, setUp.signal);
    stack.defer(ended);
    return await serve(facts, folder);
  } catch (error) {
    if (signals.stoppedBy !== undefined) return statusOfSignal(signals.stoppedBy);
    throw error;
  }

  async function serve(facts: TaskFacts, folder: TaskFolder): Promise<number> {
    const trustDomain = trustDomainOfTask(facts);
    log.info("task opened", {
      task_id: facts.id,
      platform: options.platform.name,
      [FIELD.spiffeId]: facts.identities[0]?.spiffeId,
    });
    const over = (error: AssayError) => {
      if (keeping.signal.aborted) return;
      keeping.abort();
      withdraw();
      setUp.abort(error);
      log.error("the task is over, and the command goes on without an identity", {
        [FIELD.detail]: error.detail,
      });
    };
    const server = taskServer(client, trustDomain);
    const cache: AgentCache = stack.use(
      new AgentCache({
        trustDomain,
        signer: learningSigner(
          () => server,
          () => cache,
        ),
        index: new SelectorIndex<WorkloadEntry>(),
        clock,
        spread,
        log,
        keyType: "ec-p256",
        agentId: () => client.subject,
        maxJwtSvids: 1000,
        onError: (error) => isTaskOver(error.code) && over(error),
      }),
    );
    withdraw = () => void cache.apply(NOTHING);
    const state = new TaskState(trustDomain);
    const apply = (next: TaskFacts, bundles: TaskBundles) => void cache.apply(state.update(next, bundles));
    const again = { clock, spread, log };
    apply(facts, await persist(() => client.bundles(setUp.signal), again, setUp.signal));
    void keepLease({ client, clock, spread, log, apply, signal: keeping.signal }, facts.lease).then(
      (error) => error !== undefined && over(error),
    );

    const endpoint = stack.use(
      await makeWorkloadEndpoint({
        path: folder.socket,
        mode: 0o600,
        clock,
        log,
        version: deps.version,
        cache,
        recorder: taskRecorder(log),
        agentId: () => client.subject,
        attestors: [treeAttestor({ runner: process.pid, uid: process.geteuid?.() ?? 0 })],
        features: ["wit-svid"],
      }),
    );
    await endpoint.listen();
    stack.defer(async () => {
      endpoint.close();
      await endpoint.shutdown(SHUTDOWN_GRACE);
    });

    const filesFolder = join(folder.path, "svid");
    const entry = entryFor(cache, options.spiffeId);
    const wantsFiles = options.writeFiles || options.jwtFiles.size > 0;
    if (wantsFiles) {
      await mkdir(filesFolder, { mode: 0o700 });
      const files = { folder: filesFolder, cache, entry, x509: options.writeFiles, jwts: options.jwtFiles };
      stack.use(await keepSvidFiles({ ...files, ...again, until: keeping.signal }, setUp.signal));
    }
    const env: Record<string, string | undefined> = {
      ...options.variables,
      SPIFFE_ENDPOINT_SOCKET: `unix://${folder.socket}`,
      [TASK_ID_VARIABLE]: facts.id,
      ...(wantsFiles ? { ASSAY_TASK_FILES: filesFolder } : {}),
    };
    for (const [name, audience] of options.jwtVariables) {
      env[name] = (await persist(() => cache.jwt.fetch(entry, [audience]), again, setUp.signal)).token;
    }
    // Whose value is undefined is left out.
    if (options.hidePlatformToken) for (const name of options.platform.secrets) env[name] = undefined;
    setUp.signal.throwIfAborted();
    return commandStatus(env);
  }

  async function commandStatus(env: Variables): Promise<number> {
    const command = await startCommand(options.command, env);
    if ("failure" in command) {
      log.error("the command cannot be started", { [FIELD.detail]: command.failure.detail });
      return command.status;
    }
    signals.passTo(command);
    const own = new Set([command.pid]);
    let sweep: Disposable | undefined;
    const sweeping = () => {
      reapOrphans(own);
      sweep = clock.schedule(SWEEP_INTERVAL, sweeping);
    };
    sweeping();
    stack.defer(() => sweep?.[Symbol.dispose]());
    const broken = new Promise<number>((resolve) => {
      const stop = () => {
        command.forward("SIGTERM");
        resolve(1);
      };
      if (deps.signal.aborted) stop();
      else deps.signal.addEventListener("abort", stop, { once: true });
    });
    const status = await Promise.race([command.status, broken]);
    // First of all: from here on every second is one in which what is left behind still counts.
    await ended();
    return status;
  }
}

/** Which of the task's identities files and variables are for. @throws AssayError `NO_IDENTITY_ISSUED`. */
function entryFor(cache: AgentCache, spiffeId: SpiffeId | undefined): WorkloadEntry {
  const entries = [...cache.table.entries.values()];
  const entry = spiffeId === undefined ? entries[0] : entries.find((one) => one.spiffeId === spiffeId);
  if (entry !== undefined) return entry;
  throw new AssayError("NO_IDENTITY_ISSUED", `the task has no identity ${spiffeId ?? ""}`);
}

const REQUEST_TIMEOUT = 10_000;
// A bundle map with its revocation lists.
const MAX_ANSWER = 64 * 1024 * 1024;
const SHUTDOWN_GRACE = 500;
const SWEEP_INTERVAL = 1000;
