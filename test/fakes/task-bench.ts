import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unixSeconds } from "../../src/clock.ts";
import type { AttestedTask } from "../../src/attestation/attest-task.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { endedByItself } from "../../src/issuance/tasks/end-task.ts";
import { type TaskIssuance, taskIssuance } from "../../src/issuance/tasks/task-issuance.ts";
import type { TaskCaller, TaskIssuanceOptions } from "../../src/issuance/tasks/task-options.ts";
import type { TaskAttestation } from "../../src/plugin/task-attestor.ts";
import type { EntryDraft } from "../../src/registry/entry-rules.ts";
import { openRegistry, type Registry } from "../../src/registry/registry.ts";
import type { SigningOptions } from "../../src/signing/open-signing.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { EntryRecord } from "../../src/store/records.ts";
import type { Store } from "../../src/store/store.ts";
import type { TaskRecord } from "../../src/store/task-store.ts";
import { openTasks } from "../../src/tasks/open-tasks.ts";
import type { Tasks } from "../../src/tasks/tasks.ts";
import { IssuanceBench, trustDomain } from "./issuance-bench.ts";

/** The name of the bench's attestor. */
export const INSTANCE = "github-acme";
/** Whose entries its tasks have. */
export const PARENT = parseSpiffeId(`spiffe://example.org/spire/task/${INSTANCE}`);
/** A thumbprint of a job's key. */
export const KEY = "k".repeat(43);

/** Real store, registry, tasks and signing; what tokens say is in the test's hands. */
export class TaskBench implements AsyncDisposable {
  readonly bench: IssuanceBench;
  readonly store: Store;
  readonly registry: Registry;
  readonly tasks: Tasks;
  readonly issuance: TaskIssuance;
  /** What a token says of its run: the test's word. */
  readonly tokens = new Map<string, TaskAttestation>();
  readonly options: TaskIssuanceOptions;
  readonly #cleanup: AsyncDisposableStack;
  #tasks = 0;

  private constructor(
    bench: IssuanceBench,
    store: Store,
    registry: Registry,
    tasks: Tasks,
    cleanup: AsyncDisposableStack,
  ) {
    this.bench = bench;
    this.store = store;
    this.registry = registry;
    this.tasks = tasks;
    this.#cleanup = cleanup;
    const { authorizedEntry: _, ...options } = bench.options();
    this.options = {
      ...options,
      tasks,
      attest: async (token) => this.#attest(token),
      identities: (instance, facts) => registry.entries.taskIdentities(instance, facts),
      credentials: store.credentials,
      statusListUri: (list) => `https://assay.example.org/oauth2/status-lists/${list}`,
      newTaskId: () => `00000000-0000-4000-8000-${String(++this.#tasks).padStart(12, "0")}`,
      settings: { lease: 120, maxDuration: 21_600, grace: 30 },
    };
    this.issuance = taskIssuance(this.options);
  }

  static async open(signing: Partial<SigningOptions> = {}): Promise<TaskBench> {
    await using stack = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "task-bench-"));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const bench = stack.use(await IssuanceBench.open({ jwtIssuer: "https://assay.example.org", ...signing }));
    const { clock, audit } = bench;
    const store = stack.use(await openSqliteStore({ folder, trustDomain, clock }));
    const registry = stack.use(await openRegistry({ store, trustDomain, clock }));
    const tasks = stack.use(
      await openTasks({ store, clock, report: (event) => audit.append([endedByItself(event)]) }),
    );
    return new TaskBench(bench, store, registry, tasks, stack.move());
  }

  get now(): number {
    return unixSeconds(this.bench.clock);
  }

  /** Makes a token of a run that the attestor accepts. */
  token(change: Partial<TaskAttestation> = {}): string {
    const token = `token-${this.tokens.size + 1}`;
    this.tokens.set(token, this.attestation(token, change));
    return token;
  }

  attestation(replayKey: string, change: Partial<TaskAttestation> = {}): TaskAttestation {
    return {
      platform: "github-actions",
      issuer: "https://token.actions.githubusercontent.com",
      selectors: [
        { type: "github", value: "ref:refs/heads/main" },
        { type: "github", value: "repository_id:42" },
      ],
      guarded: [],
      claims: { repository_id: "42", run_id: "7", ref: "refs/heads/main" },
      authoredClaims: ["ref"],
      taskKey: "42/7/1",
      granularity: "job",
      description: "acme/app run 7",
      replayKey,
      replayUntil: this.now + 300,
      ...change,
    };
  }

  /** Registers an entry of the attestor's tasks. */
  async entry(change: Partial<EntryDraft> = {}): Promise<EntryRecord> {
    const [result] = await this.registry.entries.create([
      {
        spiffeId: parseSpiffeId("spiffe://example.org/ci/app"),
        parentId: PARENT,
        selectors: [{ type: "github", value: "repository_id:42" }],
        ...change,
      },
    ]);
    if (result?.outcome !== "created") throw new Error(`entry: ${JSON.stringify(result)}`);
    return result.entry;
  }

  /** Opens a task by a fresh token. */
  async open(change: Partial<TaskAttestation> = {}, keyThumbprint = KEY): Promise<TaskRecord> {
    const opened = await this.issuance.open(STRANGER, this.request(this.token(change), keyThumbprint));
    return opened.task;
  }

  request(token: string, keyThumbprint = KEY) {
    return { token, keyThumbprint, signal: new AbortController().signal };
  }

  caller(task: TaskRecord): TaskCaller {
    return { address: "192.0.2.8", task };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }

  #attest(token: string): AttestedTask {
    const attestation = this.tokens.get(token);
    if (attestation === undefined) throw new AssayError("ATTESTATION_FAILED", "the signature is wrong");
    return { instance: INSTANCE, attestation };
  }
}

/** Somebody of whom only an address is known. */
export const STRANGER = { address: "192.0.2.8" };
