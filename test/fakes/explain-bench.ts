import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { oidc } from "../../src/attestation/task/oidc/oidc.ts";
import { createHttpApp, type HttpApp } from "../../src/http/http-app.ts";
import type { StoredAuditRecord } from "../../src/observe/audit-record.ts";
import type { AuditMatch } from "../../src/observe/audit-search.ts";
import { silentLog } from "../../src/observe/log.ts";
import type { TaskAttestation, TaskAttestor } from "../../src/plugin/task-attestor.ts";
import { dryRunRoutes } from "../../src/server/tasks/dry-run-routes.ts";
import { explainTaskRoutes } from "../../src/server/tasks/explain-task-routes.ts";
import { taskOperatorRoutes } from "../../src/server/tasks/task-operator-routes.ts";
import { ciClaims } from "./ci-tokens.ts";
import { INSTANCE, TaskBench } from "./task-bench.ts";

/** Tasks of GitHub's jobs over real stores, with the operators' routes about them. */
export class ExplainBench implements AsyncDisposable {
  readonly tasks: TaskBench;
  readonly attestor: TaskAttestor;
  readonly app: HttpApp;
  /** While set, the audit log is searched in vain. */
  auditFault: Error | undefined;
  /** Told every body that comes. */
  onBody: (body: unknown) => void = () => {};
  readonly #cleanup: AsyncDisposableStack;
  #tokens = 0;

  private constructor(tasks: TaskBench, attestor: TaskAttestor, app: HttpApp, cleanup: AsyncDisposableStack) {
    this.tasks = tasks;
    this.attestor = attestor;
    this.app = app;
    this.#cleanup = cleanup;
  }

  static async open(): Promise<ExplainBench> {
    await using stack = new AsyncDisposableStack();
    const tasks = stack.use(await TaskBench.open());
    const attestor = stack.use(await githubAttestor(tasks));
    const app = stack.use(
      await createHttpApp({
        clock: tasks.bench.clock,
        log: { debug() {}, error() {} },
        requestId: () => "5f0f3c6e-6f0b-4a0c-9d0e-2b1f0c3d4e5f",
        transport: { kind: "handed-over" },
        openapi: { title: "t", version: "1" },
      }),
    );
    app.routes.addHook("preHandler", async ({ body }) => {
      if (body !== undefined && body !== null) bench.onBody(body);
    });
    const { store, issuance, options } = tasks;
    const { identities } = options;
    const parts = { taskRecords: store.tasks, credentials: store.credentials, taskIssuance: issuance };
    taskOperatorRoutes(app.routes, parts, {
      admit() {},
      isOperator: () => true,
      currentId: () => undefined,
      callOf: ({ id, method, routeOptions }) => ({
        caller: { address: "", process: { pid: 7, uid: 1000, gid: 1000 } },
        method: `${method} ${routeOptions.url ?? ""}`,
        requestId: id,
      }),
    });
    explainTaskRoutes(app.routes, {
      ...parts,
      identities,
      settings: options.settings,
      searchAudit: async (match, limit) => bench.#search(match, limit),
    });
    dryRunRoutes(app.routes, {
      identities,
      tasks: tasks.tasks,
      attestors: new Map<string, TaskAttestor>([
        [INSTANCE, attestor],
        ["mute", { attest: attestor.attest, [Symbol.asyncDispose]: async () => {} }],
      ]),
    });
    const bench = new ExplainBench(tasks, attestor, app, stack.move());
    return bench;
  }

  /** Claims of a job of GitHub's sample. */
  claims(change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return ciClaims("github-actions", change, this.tasks.now);
  }

  /** What the attestor makes of such claims in a token of its own, for a task that is opened by it. */
  attested(change: Readonly<Record<string, unknown>> = {}): TaskAttestation {
    const attestation = this.attestor.judge?.(this.claims(change));
    if (attestation === undefined) throw new Error("the attestor judges nothing");
    return { ...attestation, replayKey: `token-${++this.#tokens}` };
  }

  /** Listens on a Unix socket of its own folder. */
  async listen(): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "explain-"));
    const path = join(folder, "admin.sock");
    const listener = net.createServer((socket) => this.app.serve(socket));
    this.#cleanup.defer(() => {
      listener.close();
      rmSync(folder, { recursive: true, force: true });
    });
    await new Promise<void>((resolve) => listener.listen(path, resolve));
    return path;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }

  #search({ field, value, since = 0 }: AuditMatch, limit: number): readonly StoredAuditRecord[] {
    if (this.auditFault !== undefined) throw this.auditFault;
    const { audit, clock } = this.tasks.bench;
    const time = new Date(clock.now()).toISOString();
    return audit.records
      .map((record, index) => ({ seq: index + 1, prev: "0".repeat(64), time, ...record }))
      .filter((record) => record[field] === value && clock.now() / 1000 >= since)
      .toReversed()
      .slice(0, limit);
  }
}

async function githubAttestor({ bench, options }: TaskBench): Promise<TaskAttestor> {
  const result = await oidc.config["~standard"].validate({
    preset: "github-actions",
    allow: { repository_owner_id: ["1000"] },
  });
  if (result.issues !== undefined) throw new Error(JSON.stringify(result.issues));
  return oidc.create(result.value, {
    trustDomain: options.trustDomain,
    clock: bench.clock,
    log: silentLog,
    instance: INSTANCE,
    audience: "https://assay.example.org",
  });
}
