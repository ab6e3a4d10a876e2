import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExplainBench } from "../../../test/fakes/explain-bench.ts";
import { INSTANCE, KEY, STRANGER } from "../../../test/fakes/task-bench.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { MAX_TRAIL } from "../../issuance/tasks/explain-task.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { JobExplanationView, TaskExplanationView } from "../../cli/task-view.ts";

let bench: ExplainBench;
beforeEach(async () => {
  bench = await ExplainBench.open();
});
afterEach(() => bench[Symbol.asyncDispose]());

const TEMPLATE = "/ci/{repository_id}/run/{run_id}/{run_attempt}";
const TEMPLATED = { idTemplate: TEMPLATE, spiffeId: parseSpiffeId("spiffe://example.org/ci") };
const TEXT = expect.any(String) as unknown;
const PUSH = { type: "github", value: "event:push" };

describe("GET /v1/tasks/{id}/explain", () => {
  it("tells one task from claims to revocation", async () => {
    const { tasks } = bench;
    const entry = await tasks.entry({ ...TEMPLATED, selectors: [PUSH], maxTaskDuration: 1800 });
    const other = await tasks.entry({ selectors: [PUSH, { type: "github", value: "ref:refs/heads/prod" }] });
    const task = await tasks.open(bench.attested());
    const earned = "spiffe://example.org/ci/2000/run/15923841502/2";
    await tasks.issuance.x509Svid(tasks.caller(task), { csr: makeCsr() });
    await tasks.issuance.jwtSvid(tasks.caller(task), { audience: ["db"], status: false });
    await tasks.issuance.end(STRANGER, task.id, "job");

    const [status, page] = await explained(task.id);
    expect(status).toBe(200);
    expect(page.task).toMatchObject({
      id: task.id,
      state: "ending",
      end_reason: "job",
      claims: { repository_id: "2000", event_name: "push" },
      author_claims: { workflow: "deploy", actor: "octocat" },
    });
    expect(page.matching).toMatchObject({
      identities: [{ entry_id: entry.id, earned, id_template: TEMPLATE, max_task_duration: 1800 }],
      near_misses: [{ entry_id: other.id, missing: ["github:ref:refs/heads/prod"], unnamed: [] }],
    });
    expect(page.cap).toEqual({ by: "entry", entry_id: entry.id });
    expect(page.issued).toMatchObject([
      { kind: "x509", spiffe_id: earned, audience: [], reason: "job", decision_id: TEXT },
      { kind: "jwt", spiffe_id: earned, audience: ["db"], reason: "job", decision_id: TEXT },
    ]);
    expect(page.issued.every(({ revoked_at: at }) => at !== null)).toBe(true);
    expect(page.trail.map(({ event }) => event)).toEqual([
      "task.opened",
      "svid.x509.issued",
      "svid.jwt.issued",
      "task.ended",
    ]);
    expect(page.trail_cut_off).toBe(false);
  });

  it("has the alarm of another key in its trail, and no other task's records", async () => {
    const { tasks } = bench;
    await tasks.entry({ selectors: [PUSH] });
    const task = await tasks.open(bench.attested());
    await tasks.open(bench.attested({ check_run_id: "1" }));
    const again = tasks.token(bench.attested());
    await expect(tasks.issuance.open(STRANGER, tasks.request(again, "x".repeat(43)))).rejects.toThrowCode(
      "TASK_KEY_MISMATCH",
    );
    await expect(tasks.issuance.open(STRANGER, tasks.request(again, "y".repeat(43)))).rejects.toThrowCode(
      "EVIDENCE_REPLAYED",
    );
    const [, page] = await explained(task.id);
    expect(page.trail.map(({ event, code }) => [event, code])).toEqual([
      ["task.opened", undefined],
      ["task.alarm", "TASK_KEY_MISMATCH"],
      ["task.alarm", "EVIDENCE_REPLAYED"],
    ]);
  });

  it("says that the server's setting capped it, or something that is not there any more", async () => {
    const { tasks } = bench;
    await tasks.entry({ selectors: [PUSH] });
    const free = await tasks.open(bench.attested());
    const ends = tasks.now + 900;
    const bound = await tasks.open({ ...bench.attested({ check_run_id: "2" }), endsBy: ends });
    expect((await explained(free.id))[1].cap).toEqual({ by: "setting", entry_id: "" });
    expect((await explained(bound.id))[1].cap).toEqual({ by: "other", entry_id: "" });
  });

  it("tells from the audit log alone what the store has forgotten", async () => {
    const id = "5c7bcb0e-31d5-44f7-b1a1-3bb0a8a1a7f0";
    bench.tasks.bench.audit.append([{ event: "task.ended", outcome: "done", task_id: id, reason: "lease" }]);
    const [status, page] = await explained(id);
    expect([status, page.task, page.matching, page.cap, page.issued]).toEqual([200, null, null, null, []]);
    expect(page.trail).toMatchObject([{ event: "task.ended", reason: "lease" }]);
  });

  it("keeps the newest records of a task that has very many, and says so", async () => {
    await bench.tasks.entry({ selectors: [PUSH] });
    const task = await bench.tasks.open(bench.attested());
    for (let i = 0; i < MAX_TRAIL; i++) {
      bench.tasks.bench.audit.append([
        { event: "svid.denied", outcome: "denied", task_id: task.id, decision_id: `d${i}` },
      ]);
    }
    const [, page] = await explained(task.id);
    expect(page.trail_cut_off).toBe(true);
    expect(page.trail).toHaveLength(MAX_TRAIL);
    expect(page.trail.at(-1)?.decision_id).toBe(`d${MAX_TRAIL - 1}`);
    expect(page.trail[0]?.event).toBe("svid.denied");
  });

  it("is 404 for a task that nobody knows, 400 for no id, 503 where the audit log cannot be read", async () => {
    const id = "5c7bcb0e-31d5-44f7-b1a1-3bb0a8a1a7f0";
    expect(await explained(id)).toMatchObject([404, { code: "TASK_NOT_FOUND" }]);
    expect(await explained("x")).toMatchObject([400, { code: "INVALID_REQUEST" }]);
    bench.auditFault = new AssayError("AUDIT_UNAVAILABLE", "the disk is gone");
    expect(await explained(id)).toMatchObject([503, { code: "AUDIT_UNAVAILABLE" }]);
  });
});

describe("POST /v1/task-attestors/{name}/explain", () => {
  it("says which entries would match, what templates give, and what came nearest and why not", async () => {
    const { tasks } = bench;
    const good = await tasks.entry({ ...TEMPLATED, selectors: [PUSH], hint: "run" });
    const faulty = await tasks.entry({
      spiffeId: parseSpiffeId("spiffe://example.org/by"),
      idTemplate: "/by/{ref}",
      selectors: [PUSH],
    });
    const near = await tasks.entry({ selectors: [PUSH, { type: "github", value: "environment:test" }] });
    const [status, found] = await dryRun(bench.claims());
    expect(status).toBe(200);
    expect(found).toMatchObject({
      attestor: INSTANCE,
      refusal: null,
      task: null,
      run: {
        platform: "github-actions",
        granularity: "job",
        task_key: bench.attested().taskKey,
        guarded_selectors: [],
        author_claims: { environment: "prod" },
      },
      matching: {
        identities: [
          { entry_id: good.id, earned: "spiffe://example.org/ci/2000/run/15923841502/2", hint: "run" },
        ],
        faults: [{ entry_id: faulty.id, reason: expect.stringContaining("ref") as unknown }],
        near_misses: [{ entry_id: near.id, missing: ["github:environment:test"] }],
      },
    });
    expect(found.run?.selectors).toContain("github:event:push");
  });

  it("names the guarded selector that keeps an entry from giving anything", async () => {
    const entry = await bench.tasks.entry({ selectors: [{ type: "github", value: "repository-id:2000" }] });
    const [, found] = await dryRun(bench.claims({ event_name: "pull_request_target" }));
    const guarded = "github:event:pull_request_target";
    expect(found.run?.guarded_selectors).toEqual([guarded]);
    expect(found.matching?.identities).toEqual([]);
    expect(found.matching?.near_misses).toMatchObject([
      { entry_id: entry.id, missing: [], unnamed: [guarded] },
    ]);
  });

  it("opens nothing, uses nothing up, records nothing, and finds the run's task", async () => {
    const { tasks } = bench;
    await tasks.entry({ selectors: [PUSH] });
    await dryRun(bench.claims());
    await dryRun(bench.claims());
    expect(tasks.tasks.live).toBe(0);
    expect(tasks.bench.audit.records).toEqual([]);
    const task = await tasks.open(bench.attested(), KEY);
    expect((await dryRun(bench.claims()))[1].task).toEqual({ id: task.id, state: "active" });
  });

  it.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    ["another issuer's", { iss: "https://token.actions.githubusercontent.com/" }, /iss/],
    ["for another audience", { aud: "https://else.example" }, /aud/],
    ["for two audiences", { aud: ["https://assay.example.org", "b"] }, /aud/],
    ["of an owner who is not allowed", { repository_owner_id: "1001" }, /repository_owner_id/],
    ["without the run", { run_id: undefined }, /run_id/],
  ])("says why claims are no evidence that are %s", async (_what, change, reason) => {
    const [status, found] = await dryRun(bench.claims(change));
    expect(status).toBe(200);
    expect(found).toMatchObject({ run: null, matching: null, task: null });
    expect(found.refusal).toMatch(reason);
  });

  it("is refused for an attestor that is not there or judges nothing, and for what are no claims", async () => {
    for (const name of ["nobody", "mute"]) {
      expect(await dryRun(bench.claims(), name)).toMatchObject([400, { code: "ATTESTOR_UNKNOWN" }]);
    }
    expect(await dryRun([])).toMatchObject([400, { code: "INVALID_REQUEST" }]);
    expect(await dryRun("token")).toMatchObject([400, { code: "INVALID_REQUEST" }]);
    expect(await dryRun({}, "A")).toMatchObject([400, { code: "INVALID_REQUEST" }]);
  });
});

async function explained(id: string): Promise<[number, TaskExplanationView]> {
  const answer = await bench.app.routes.inject({ method: "GET", url: `/v1/tasks/${id}/explain` });
  return [answer.statusCode, answer.json()];
}

async function dryRun(claims: unknown, name = INSTANCE): Promise<[number, JobExplanationView]> {
  const answer = await bench.app.routes.inject({
    method: "POST",
    url: `/v1/task-attestors/${name}/explain`,
    payload: { claims },
  });
  return [answer.statusCode, answer.json()];
}
