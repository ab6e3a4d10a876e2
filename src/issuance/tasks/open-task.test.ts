import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { KEY, STRANGER, TaskBench } from "../../../test/fakes/task-bench.ts";
import { taskIssuance } from "./task-issuance.ts";
import { AssayError } from "../../errors/assay-error.ts";

let world: TaskBench;

beforeEach(async () => {
  world = await TaskBench.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const last = () => world.bench.audit.records.at(-1);

function open(token: string, key = KEY) {
  return world.issuance.open(STRANGER, world.request(token, key));
}

describe("opening a task after the store was restored", () => {
  it("takes no evidence of before, or that does not say of when until a day is over", async () => {
    await world.entry();
    const restoredAt = world.now - 100;
    const issuance = taskIssuance({ ...world.options, restoredAt });
    const opening = async (token: string, issuedAt?: number) => {
      const attestation = world.tokens.get(token);
      if (attestation === undefined) throw new Error("no such token");
      world.tokens.set(token, { ...attestation, ...(issuedAt === undefined ? {} : { issuedAt }) });
      return issuance.open(STRANGER, world.request(token, KEY));
    };
    // Of before, or of an issuer whose clock was ahead by what is tolerated.
    for (const issuedAt of [restoredAt - 1, restoredAt, restoredAt + 30, undefined]) {
      await expect(opening(world.token(), issuedAt)).rejects.toThrowCode("NO_IDENTITY_ISSUED");
      expect(last()).toMatchObject({ event: "task.denied", code: "ATTESTATION_FAILED" });
      expect(last()?.reasons?.join()).toMatch(/before the store was restored/);
    }
    expect((await opening(world.token(), restoredAt + 31)).task.state).toBe("active");
    const later = taskIssuance({ ...world.options, restoredAt: world.now - 86_401 });
    expect((await later.open(STRANGER, world.request(world.token(), KEY))).isResumed).toBe(true);
  });
});

describe("opening a task", () => {
  it("gives the identities of all entries that match, the oldest first, and says where each fact comes from", async () => {
    const entry = await world.entry({
      idTemplate: "/ci/{repository_id}/run/{run_id}",
      spiffeId: "",
      hint: "run",
    });
    await world.entry();
    const opened = await open(world.token());
    expect(opened).toMatchObject({
      isResumed: false,
      identities: [
        { spiffeId: "spiffe://example.org/ci/42/run/7", entry: { hint: "run" } },
        { spiffeId: "spiffe://example.org/ci/app" },
      ],
      task: {
        key: "github-acme:42/7/1",
        state: "active",
        keyThumbprint: KEY,
        leaseExpiresAt: world.now + 120,
        hardEnd: world.now + 21_600,
      },
    });
    expect(world.bench.audit.records).toEqual([
      {
        event: "task.opened",
        outcome: "issued",
        decision_id: "decision-1",
        caller_address: "192.0.2.8",
        attestor: "github-acme",
        platform: "github-actions",
        selectors: ["github:ref:refs/heads/main", "github:repository_id:42"],
        claims: ["repository_id=42", "run_id=7"],
        author_claims: ["ref=refs/heads/main"],
        spiffe_id: "spiffe://example.org/ci/42/run/7",
        entry_id: entry.id,
        entry_revision: 0,
        parent_id: "spiffe://example.org/spire/task/github-acme",
        task_id: opened.task.id,
        expires_at: world.now + 21_600,
      },
    ]);
  });

  it.each([
    ["the server's", {}, {}, 21_600],
    ["the entry's", { maxTaskDuration: 600 }, {}, 600],
    ["the platform's", { maxTaskDuration: 600 }, { endsIn: 90 }, 90],
    ["the server's where an entry allows as much", { maxTaskDuration: 21_600 }, {}, 21_600],
  ] as const)(
    "ends at the latest by the earliest bound: %s",
    async (_, entry, { endsIn }: { endsIn?: number }, life) => {
      await world.entry(entry);
      const task = await world.open(endsIn === undefined ? {} : { endsBy: world.now + endsIn + 0.9 });
      expect(task.hardEnd).toBe(world.now + life);
      expect(task.leaseExpiresAt).toBe(world.now + Math.min(120, life));
    },
  );

  it("tells the caller the same whether the evidence was wrong or nothing matched, and the operator which it was", async () => {
    const wrong = await open("forged").catch((error: unknown) => error);
    expect(last()).toMatchObject({
      event: "task.denied",
      outcome: "denied",
      code: "ATTESTATION_FAILED",
      reasons: ["the signature is wrong"],
    });
    const entry = await world.entry({
      selectors: [
        { type: "github", value: "repository_id:42" },
        { type: "github", value: "ref:refs/heads/prod" },
      ],
    });
    const unmatched = await open(world.token()).catch((error: unknown) => error);
    expect(last()).toMatchObject({
      event: "task.denied",
      code: "NO_IDENTITY_ISSUED",
      attestor: "github-acme",
      claims: ["repository_id=42", "run_id=7"],
      reasons: [
        `entry ${entry.id} came near: not seen github:ref:refs/heads/prod`,
        "no registration entry gives this task an identity",
      ],
    });
    for (const [at, error] of [wrong, unmatched].entries()) {
      expect(error).toBeInstanceOf(AssayError);
      expect(error).toMatchObject({
        code: "NO_IDENTITY_ISSUED",
        detail: `no identity issued (decision decision-${at + 1})`,
      });
    }
  });

  it("gives nothing by an entry that does not name what is guarded", async () => {
    const entry = await world.entry();
    const fork = { type: "github", value: "event_name:pull_request" };
    const selectors = [fork, { type: "github", value: "repository_id:42" }];
    const danger = { selectors, guarded: [fork] };
    await expect(open(world.token(danger))).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    expect(last()?.reasons?.[0]).toBe(
      `entry ${entry.id} came near: does not name github:event_name:pull_request`,
    );
    await world.entry({ selectors, spiffeId: "spiffe://example.org/ci/forks" });
    expect((await open(world.token(danger))).identities).toMatchObject([
      { spiffeId: "spiffe://example.org/ci/forks" },
    ]);
  });

  it("says which entry matched and could not name the run", async () => {
    const entry = await world.entry({ idTemplate: "/ci/{missing}", spiffeId: "" });
    await expect(open(world.token())).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    expect(last()?.reasons?.[0]).toContain(`entry ${entry.id} matched: `);
  });

  it("uses up no evidence where nothing matches", async () => {
    const token = world.token();
    await expect(open(token)).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    await world.entry();
    await open(token);
  });

  it("takes evidence once, of any number at once", async () => {
    await world.entry();
    const token = world.token();
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => open(token)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "EVIDENCE_REPLAYED" });
    }
    expect(world.tasks.live).toBe(1);
  });

  it("resumes the task of the same run and key, and its lease goes on", async () => {
    await world.entry();
    const task = await world.open();
    await world.bench.clock.advance(60_000);
    const again = await open(world.token());
    expect(again).toMatchObject({
      isResumed: true,
      identities: [{ spiffeId: "spiffe://example.org/ci/app" }],
      task: { id: task.id, leaseExpiresAt: world.now + 120, hardEnd: task.hardEnd },
    });
    expect(last()).toMatchObject({ event: "task.resumed", outcome: "issued", task_id: task.id });
  });

  it("records a task that ends while it is taken up again as refused, not as resumed", async () => {
    await world.entry();
    const task = await world.open();
    const over = new AssayError("TASK_OVER", "it has ended");
    vi.spyOn(world.tasks, "heartbeat").mockRejectedValueOnce(over);
    await expect(open(world.token())).rejects.toThrowCode("TASK_OVER");
    expect(last()).toMatchObject({ event: "task.denied", outcome: "denied", task_id: task.id });
  });

  it("refuses another key for the run, and raises the alarm", async () => {
    await world.entry();
    const task = await world.open();
    await expect(open(world.token(), "x".repeat(43))).rejects.toThrowCode("TASK_KEY_MISMATCH");
    expect(last()).toMatchObject({
      event: "task.alarm",
      outcome: "denied",
      code: "TASK_KEY_MISMATCH",
      task_id: task.id,
      attestor: "github-acme",
      claims: ["repository_id=42", "run_id=7"],
    });
    expect(await world.tasks.active(task.id)).toEqual(task);
  });

  it("raises the alarm where evidence comes again with another key, not where the job itself repeats it", async () => {
    await world.entry();
    const token = world.token();
    await open(token);
    await expect(open(token)).rejects.toThrowCode("EVIDENCE_REPLAYED");
    expect(last()).toMatchObject({ event: "task.denied", code: "EVIDENCE_REPLAYED" });
    await expect(open(token, "x".repeat(43))).rejects.toThrowCode("EVIDENCE_REPLAYED");
    expect(last()).toMatchObject({ event: "task.alarm", code: "EVIDENCE_REPLAYED" });
  });

  it("opens no second task for a run whose task has ended", async () => {
    await world.entry();
    const task = await world.open();
    await world.issuance.end(STRANGER, task.id, "job");
    await expect(open(world.token())).rejects.toThrowCode("TASK_OVER", /has ended/);
    expect(last()).toMatchObject({ event: "task.denied", code: "TASK_OVER", task_id: task.id });
  });

  it("opens none for a run that the platform has ended already", async () => {
    await world.entry();
    await expect(open(world.token({ endsBy: world.now }))).rejects.toThrowCode("NO_IDENTITY_ISSUED");
    expect(last()).toMatchObject({ code: "ATTESTATION_FAILED" });
  });

  it("takes one token that two attestors would take as one piece of evidence", async () => {
    await world.entry();
    await open(world.token({ replayKey: "jti-1" }));
    await expect(open(world.token({ replayKey: "jti-1", taskKey: "another" }))).rejects.toThrowCode(
      "EVIDENCE_REPLAYED",
    );
    await open(world.token({ replayKey: "jti-1", taskKey: "another", issuer: "https://gitlab.example" }));
  });

  it("lets nothing leave that is not written down", async () => {
    await world.entry();
    world.bench.audit.broken = true;
    await expect(open(world.token())).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    world.bench.audit.broken = false;
    // The job asks its platform for a fresh token and goes on with the task that was opened for it.
    expect(await open(world.token())).toMatchObject({ isResumed: true });
  });
});
