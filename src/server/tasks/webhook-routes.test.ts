import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ciClaims } from "../../../test/fakes/ci-tokens.ts";
import { INSTANCE, TaskBench } from "../../../test/fakes/task-bench.ts";
import { oidc } from "../../attestation/task/oidc/oidc.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { createHttpApp, type HttpApp } from "../../http/http-app.ts";
import { RateLimiter } from "../../issuance/rate-limiter.ts";
import { silentLog } from "../../observe/log.ts";
import type { TaskAttestor } from "../../plugin/task-attestor.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import { taskWebhookRoutes, type TaskWebhookOptions } from "./webhook-routes.ts";

const SECRET = "a secret of sixteen and more";
const ADDRESS = "198.51.100.7";
const URL_OF = `/v1/webhooks/${INSTANCE}`;

let folder: string;
let bench: TaskBench;
let app: HttpApp;
let attestor: TaskAttestor;
let options: TaskWebhookOptions;
let cleanup: AsyncDisposableStack;

beforeEach(async () => {
  await using stack = new AsyncDisposableStack();
  folder = mkdtempSync(join(tmpdir(), "assay-hooks-"));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  bench = stack.use(await TaskBench.open());
  await bench.entry();
  const secretFile = join(folder, "secret");
  writeFileSync(secretFile, SECRET, { mode: 0o600 });
  attestor = stack.use(await github(secretFile));
  const { clock, audit } = bench.bench;
  options = {
    attestors: new Map<string, Pick<TaskAttestor, "readWebhook">>([
      [INSTANCE, attestor],
      ["no-messages", {}],
      ["other", attestor],
    ]),
    tasks: bench.tasks,
    taskIssuance: bench.issuance,
    callerOf: () => ({ address: ADDRESS }),
    audit,
    refusals: new RateLimiter({ perSecond: 1, burst: 3 }, clock),
  };
  app = stack.use(await appOf(options));
  cleanup = stack.move();
});
afterEach(() => cleanup.disposeAsync());

describe("a platform's message that a job has ended", () => {
  it("ends its task, revokes what was issued to it, and says in the audit log who said so", async () => {
    const task = await openJob("11");
    await bench.issuance.jwtSvid(bench.caller(task), { audience: ["db"], status: false });
    expect(await deliver(job("11"), { "x-github-delivery": "72d3162e-cc78" })).toEqual([202, "{}"]);
    expect(bench.tasks.get(task.id)).toMatchObject({ state: "ending", endReason: "platform" });
    expect(await bench.store.credentials.ofTask(task.id)).toMatchObject([
      { kind: "jwt", reason: "platform" },
    ]);
    expect(bench.bench.audit.records.at(-1)).toMatchObject({
      event: "task.ended",
      outcome: "done",
      task_id: task.id,
      reason: "platform",
      caller_address: ADDRESS,
      method: "POST /v1/webhooks/:instance",
      reasons: ["delivery 72d3162e-cc78", "revoked 1 of what was issued"],
    });
  });

  it("ends no other task, and means the jobs of its own attestor only", async () => {
    const one = await openJob("11");
    const two = await openJob("12");
    const attempt = await openJob("11", { run_attempt: "3" });
    expect(await deliver(job("12"), {}, "/v1/webhooks/other")).toEqual([202, "{}"]);
    expect(await deliver(job("12"))).toEqual([202, "{}"]);
    expect(states(one, two, attempt)).toEqual(["active", "ending", "active"]);
  });

  it("ends all jobs of a run where it is about the run, of this attempt only", async () => {
    const tasks = [await openJob("11"), await openJob("12"), await openJob("13", { run_attempt: "21" })];
    await deliver({
      action: "completed",
      workflow_run: { id: 15923841502, run_attempt: 2, status: "completed" },
      repository: { id: 2000 },
    });
    expect(states(...tasks)).toEqual(["ending", "ending", "active"]);
  });

  it("is harmless when it comes again, and makes no second record", async () => {
    await openJob("11");
    await deliver(job("11"));
    const records = bench.bench.audit.records.length;
    expect(await deliver(job("11"))).toEqual([202, "{}"]);
    expect(bench.bench.audit.records.length).toBe(records);
  });

  it("is taken quietly where it names no task, or says nothing about an end", async () => {
    const task = await openJob("11");
    const records = bench.bench.audit.records.length;
    expect(await deliver(job("99"))).toEqual([202, "{}"]);
    expect(await deliver({ ...job("11"), action: "in_progress" })).toEqual([202, "{}"]);
    expect(await deliver({ zen: "Keep it logically awesome." })).toEqual([202, "{}"]);
    expect(bench.bench.audit.records.length).toBe(records);
    expect(states(task)).toEqual(["active"]);
  });

  it("cannot open a task or make one live longer", async () => {
    const task = await openJob("11");
    await deliver({ ...job("11"), action: "queued" });
    await deliver({ ...job("11"), action: "in_progress" });
    expect(bench.tasks.get(task.id)?.leaseExpiresAt).toBe(task.leaseExpiresAt);
    await deliver(job("12"));
    expect(bench.tasks.live).toBe(1);
  });

  it("names one key only where another's key begins with it by chance", async () => {
    const seven = await bench.open({ taskKey: "7" });
    const seventy = await bench.open({ taskKey: "70" });
    await using plain = await appOf({
      ...options,
      attestors: new Map([[INSTANCE, { readWebhook: () => ({ taskKey: "7" }) }]]),
    });
    await plain.routes.inject({ method: "POST", url: URL_OF, payload: "{}" });
    expect(states(seven, seventy)).toEqual(["ending", "active"]);
  });

  it("is answered with 503 where the end cannot be written, so that the platform sends it again", async () => {
    const task = await openJob("11");
    await using broken = await appOf({
      ...options,
      taskIssuance: { end: () => Promise.reject(new AssayError("STORE_UNAVAILABLE", "disk full")) },
    });
    expect((await deliver(job("11"), {}, URL_OF, broken))[0]).toBe(503);
    expect(states(task)).toEqual(["active"]);
  });
});

describe("a message that nobody can vouch for", () => {
  it.each<[string, string, Record<string, string>]>([
    ["is signed by another secret", URL_OF, { "x-hub-signature-256": signature(text(), "another secret!!") }],
    ["is not signed", URL_OF, { "x-hub-signature-256": "" }],
    ["is signed over another body", URL_OF, { "x-hub-signature-256": signature(`${text()} `) }],
    ["is for an attestor that takes none", "/v1/webhooks/no-messages", {}],
    ["is for an attestor that is not there", "/v1/webhooks/nobody", {}],
  ])("is refused where it %s, with a record and no hint why", async (_what, url, headers) => {
    const task = await openJob("11");
    const [status, body] = await deliver(job("11"), headers, url);
    expect(status).toBe(401);
    expect(JSON.parse(body)).not.toHaveProperty("detail");
    expect(JSON.parse(body)).toMatchObject({ code: "WEBHOOK_REFUSED" });
    expect(states(task)).toEqual(["active"]);
    expect(bench.bench.audit.records.at(-1)).toMatchObject({
      event: "webhook.denied",
      outcome: "denied",
      code: "WEBHOOK_REFUSED",
      caller_address: ADDRESS,
      attestor: url.split("/").at(-1),
      reasons: [expect.any(String)],
    });
  });

  it("is refused where the secret fits and the body names no run", async () => {
    expect((await deliver({ ...job("11"), repository: {} }))[0]).toBe(401);
    await using plain = await appOf({
      ...options,
      attestors: new Map([[INSTANCE, { readWebhook: () => ({ taskKey: "" }) }]]),
    });
    const task = await openJob("11");
    expect((await deliver(job("11"), {}, URL_OF, plain))[0]).toBe(401);
    expect(states(task)).toEqual(["active"]);
  });

  it("does not fill the audit log, and does not keep the platform's own words out", async () => {
    const task = await openJob("11");
    const before = bench.bench.audit.records.length;
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++) statuses.push((await deliver(job("11"), { "x-hub-signature-256": "" }))[0]);
    expect(statuses).toEqual([401, 401, 401, 429, 429, 429, 429, 429, 429, 429]);
    expect(bench.bench.audit.records.length).toBe(before + 3);
    await deliver(job("11"));
    expect(states(task)).toEqual(["ending"]);
  });

  it("does not fill the audit log from all addresses of one network either", async () => {
    let sender = 0;
    await using app6 = await appOf({
      ...options,
      callerOf: () => ({ address: `2001:db8::${(++sender).toString(16)}` }),
    });
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) {
      statuses.push((await deliver(job("11"), { "x-hub-signature-256": "" }, URL_OF, app6))[0]);
    }
    expect(statuses).toEqual([401, 401, 401, 429, 429]);
  });

  it("is refused above 1 MiB and by a name that no attestor can have", async () => {
    expect((await deliver({ ...job("11"), more: "x".repeat(1024 * 1024) }))[0]).toBe(413);
    expect((await deliver(job("11"), {}, "/v1/webhooks/A_b"))[0]).toBe(400);
    expect((await deliver(job("11"), {}, `/v1/webhooks/${"a".repeat(65)}`))[0]).toBe(400);
  });

  it("is refused without a body", async () => {
    const answer = await app.routes.inject({ method: "POST", url: URL_OF });
    expect(answer.statusCode).toBe(401);
  });

  it("keeps a delivery's name out of the audit log that is none", async () => {
    await openJob("11");
    await deliver(job("11"), { "x-github-delivery": "a b; drop" });
    expect(bench.bench.audit.records.at(-1)).toMatchObject({ reasons: ["revoked 0 of what was issued"] });
  });
});

describe("the document of the routes", () => {
  it("names the route and its refusals", async () => {
    const { paths } = (await app.openapi()) as {
      paths: Record<string, Record<string, { responses: object }>>;
    };
    const { responses } = paths["/v1/webhooks/{instance}"]?.["post"] ?? { responses: {} };
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(["202", "401", "413", "429"]));
  });
});

/** The job of GitHub's sample with this check run. */
function job(checkRun: string): Record<string, unknown> {
  return {
    action: "completed",
    workflow_job: {
      run_id: 15923841502,
      run_attempt: 2,
      status: "completed",
      check_run_url: `https://api.github.com/repos/octo-org/octo-repo/check-runs/${checkRun}`,
    },
    repository: { id: 2000 },
  };
}

function text(): string {
  return JSON.stringify(job("11"));
}

/** Opens the task of a job by the key that the attestor makes of its claims. */
function openJob(checkRun: string, change: Readonly<Record<string, unknown>> = {}): Promise<TaskRecord> {
  const claims = ciClaims("github-actions", { check_run_id: checkRun, ...change }, bench.now);
  const taskKey = attestor.judge?.(claims).taskKey;
  if (taskKey === undefined) throw new Error("the attestor judges nothing");
  return bench.open({ taskKey });
}

function states(...tasks: readonly TaskRecord[]): readonly (string | undefined)[] {
  return tasks.map(({ id }) => bench.tasks.get(id)?.state);
}

async function deliver(
  message: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
  url = URL_OF,
  to: HttpApp = app,
): Promise<readonly [number, string]> {
  const payload = JSON.stringify(message);
  const answer = await to.routes.inject({
    method: "POST",
    url,
    headers: {
      "content-type": "application/json",
      "x-hub-signature-256": signature(payload),
      ...headers,
    },
    payload,
  });
  return [answer.statusCode, answer.body];
}

function signature(payload: string, secret = SECRET): string {
  return `sha256=${createHmac("sha256", secret).update(payload).digest("hex")}`;
}

async function appOf(given: TaskWebhookOptions): Promise<HttpApp> {
  const made = await createHttpApp({
    clock: bench.bench.clock,
    log: { debug() {}, error() {} },
    requestId: () => "5f0f3c6e-6f0b-4a0c-9d0e-2b1f0c3d4e5f",
    transport: { kind: "handed-over" },
    openapi: { title: "t", version: "1" },
  });
  await made.routes.register(async (scope) => taskWebhookRoutes(scope.withTypeProvider(), given));
  return made;
}

async function github(secretFile: string): Promise<TaskAttestor> {
  const result = await oidc.config["~standard"].validate({
    preset: "github-actions",
    allow: { repository_owner_id: ["1000"] },
    webhook_secret_file: secretFile,
  });
  if (result.issues !== undefined) throw new Error(JSON.stringify(result.issues));
  return oidc.create(result.value, {
    trustDomain: bench.options.trustDomain,
    clock: bench.bench.clock,
    log: silentLog,
    instance: INSTANCE,
    audience: "https://assay.example.org",
  });
}
