import { describe, expect, it } from "vitest";
import type { NewTask, TaskOpening, TaskRecord } from "../../src/store/task-store.ts";
import { changesAfter, credential, selectors, task } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

export function taskContract(subject: StoreUnderTest): void {
  let shown = 0;
  const open = (one: NewTask, replayKey = `replay-${shown++}`, until = 1000) =>
    subject.store.tasks.open(one, { replayKey, until });

  describe("tasks", () => {
    it("gives back every field of a task, before and after a restart", async () => {
      const full: NewTask = {
        ...task("full"),
        description: 'caf\u00e9 "run" \u{1f511}\n',
        selectors: selectors("github:repository_id:1", "github:ref:refs/heads/a:b"),
        guarded: selectors("github:event:pull_request"),
        claims: { run_id: "7", constructor: "x", "a.b": "{}" },
        authoredClaims: ["ref"],
        granularity: "run",
        hardEnd: Number.MAX_SAFE_INTEGER,
      };
      const opening = await open(full);
      const { ordinal } = taskOf(opening);
      const stored: TaskRecord = { ...full, ordinal, state: "active", endedAt: 0, endReason: "" };
      expect(opening).toEqual({ outcome: "opened", task: stored });
      expect(await subject.store.tasks.get(full.id)).toEqual(stored);
      const again = await subject.reopen();
      expect(await again.tasks.get(full.id)).toEqual(stored);
      expect(await again.tasks.live()).toEqual([stored]);
      expect(await again.tasks.get("absent")).toBeUndefined();
    });

    it("lets exactly one of 100 parallel callers use a piece of evidence", async () => {
      const openings = await Promise.all(
        Array.from({ length: 100 }, (_, n) => open({ ...task("a"), id: `a${n}` }, "same")),
      );
      expect(openings.filter(({ outcome }) => outcome === "opened")).toHaveLength(1);
      expect(openings.filter(({ outcome }) => outcome === "replayed")).toHaveLength(99);
      expect(await subject.store.tasks.live()).toHaveLength(1);
    });

    it("opens one task for a run that shows 100 pieces of evidence at once, to the first key", async () => {
      const openings = await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          open({ ...task("a"), id: `a${n}`, keyThumbprint: n % 2 === 0 ? "even" : "odd" }),
        ),
      );
      const outcomes = openings.map(({ outcome }) => outcome);
      expect(outcomes[0]).toBe("opened");
      expect(outcomes.slice(1).filter((outcome) => outcome === "resumed")).toHaveLength(49);
      expect(outcomes.filter((outcome) => outcome === "otherKey")).toHaveLength(50);
      expect(new Set(openings.map((opening) => taskOf(opening).id))).toEqual(new Set(["a0"]));
      expect(await changesAfter(subject.store, 0)).toEqual(["task put a0"]);
    });

    it("remembers evidence over a restart, and uses it up whatever came of it", async () => {
      await open(task("a"), "first");
      expect((await open({ ...task("a"), keyThumbprint: "other" }, "second")).outcome).toBe("otherKey");
      await subject.reopen();
      for (const replayKey of ["first", "second"]) {
        expect(await open({ ...task("a"), id: "b" }, replayKey)).toEqual({ outcome: "replayed" });
      }
    });

    it("tells a run whose task is over that it is, with any key", async () => {
      await open(task("a"));
      await subject.store.tasks.end("a", "job", 50);
      expect(await open(task("a"))).toMatchObject({ outcome: "over", task: { state: "ending" } });
      await subject.store.tasks.close("a");
      const over = await open({ ...task("a"), id: "b", keyThumbprint: "other" });
      expect(over).toMatchObject({ outcome: "over", task: { id: "a", state: "ended", endReason: "job" } });
    });

    it("leaves nothing of an opening that cannot be written, not even the used evidence", async () => {
      await open(task("a"));
      const taken = { ...task("b"), id: "a" };
      await expect(open(taken, "evidence")).rejects.toThrow(/UNIQUE|unique/);
      expect((await open(task("b"), "evidence")).outcome).toBe("opened");
    });

    it("extends a lease, never beyond the hard end nor backwards, with a change only where it changes", async () => {
      await open({ ...task("a"), leaseExpiresAt: 100, hardEnd: 200 });
      const before = await subject.store.changes.latest();
      const { tasks } = subject.store;
      expect((await tasks.extend("a", 150))?.leaseExpiresAt).toBe(150);
      expect((await tasks.extend("a", 120))?.leaseExpiresAt).toBe(150);
      expect((await tasks.extend("a", 150))?.leaseExpiresAt).toBe(150);
      expect((await tasks.extend("a", 999))?.leaseExpiresAt).toBe(200);
      expect((await tasks.extend("a", 999))?.leaseExpiresAt).toBe(200);
      expect(await tasks.extend("absent", 150)).toBeUndefined();
      expect(await changesAfter(subject.store, before)).toEqual(["task put a", "task put a"]);
      await tasks.end("a", "lease", 201);
      expect(await tasks.extend("a", 999)).toBeUndefined();
      expect((await tasks.get("a"))?.leaseExpiresAt).toBe(200);
    });

    it("ends a task once, whoever ends it, with all that was issued to it and exchanged for that", async () => {
      await open(task("a"));
      await open(task("b"));
      const { tasks, credentials } = subject.store;
      await credentials.record([credential("a1", { taskId: "a" }), credential("b1", { taskId: "b" })]);
      await credentials.record([credential("child", { kind: "access_token", parent: "x509:a1" })]);
      await credentials.record([credential("grandchild", { parent: "access_token:child" })]);
      const before = await subject.store.changes.latest();
      const ends = await Promise.all(
        (["job", "lease", "cap", "operator", "platform"] as const).map((reason) =>
          tasks.end("a", reason, 60),
        ),
      );
      const [first, ...others] = ends;
      expect(others).toEqual([undefined, undefined, undefined, undefined]);
      expect(first?.task).toMatchObject({ id: "a", state: "ending", endedAt: 60, endReason: "job" });
      expect(first?.revoked.map(({ id }) => id)).toEqual(["a1", "child", "grandchild"]);
      expect(first?.revoked.every((one) => one.revokedAt === 60 && one.reason === "job")).toBe(true);
      expect(await changesAfter(subject.store, before)).toEqual([
        "task put a",
        "credential put x509:a1",
        "credential put access_token:child",
        "credential put x509:grandchild",
      ]);
      expect((await credentials.revoked(0)).map(({ id }) => id)).toEqual(["a1", "child", "grandchild"]);
      expect(await tasks.end("absent", "job", 1)).toBeUndefined();
    });

    it("revokes a task's 1,200 credentials in one go, but not what had expired long before", async () => {
      await open(task("a"));
      const { tasks, credentials } = subject.store;
      const many = Array.from({ length: 1200 }, (_, n) =>
        credential(`c${n}`, { taskId: "a", expiresAt: 1000 }),
      );
      await credentials.record(many);
      await credentials.record([credential("old", { taskId: "a", expiresAt: 100 })]);
      const end = await tasks.end("a", "cap", 500);
      expect(end?.revoked).toHaveLength(1200);
      expect((await credentials.get("x509", "old"))?.revokedAt).toBe(0);
    });

    it("closes what is ending and nothing else", async () => {
      await open(task("a"));
      await open(task("b"));
      const { tasks } = subject.store;
      await tasks.close("a");
      await tasks.close("absent");
      expect((await tasks.get("a"))?.state).toBe("active");
      await tasks.end("a", "operator", 70);
      expect((await tasks.live()).map(({ id, state }) => `${id} ${state}`)).toEqual(["a ending", "b active"]);
      const before = await subject.store.changes.latest();
      await tasks.close("a");
      await tasks.close("a");
      expect(await changesAfter(subject.store, before)).toEqual(["task put a"]);
      expect((await tasks.live()).map(({ id }) => id)).toEqual(["b"]);
    });

    it("lists newest first, in pages", async () => {
      for (const id of ["a", "b", "c"]) await open(task(id));
      const { tasks } = subject.store;
      const first = await tasks.list(0, 2);
      expect(first.map(({ id }) => id)).toEqual(["c", "b"]);
      expect((await tasks.list(first.at(-1)?.ordinal ?? 0, 2)).map(({ id }) => id)).toEqual(["a"]);
      await expect(tasks.list(0, 0)).rejects.toThrowCode("INVALID_REQUEST", /limit/);
    });

    it("forgets evidence and ended tasks before a time, and neither live tasks nor what is at that time", async () => {
      await open(task("gone"), "old", 99);
      await open(task("kept"), "new", 100);
      await open(task("ending"), "newer", 500);
      await open(task("active"), "newest", 500);
      const { tasks } = subject.store;
      await tasks.end("gone", "job", 99);
      await tasks.close("gone");
      await tasks.end("kept", "job", 100);
      await tasks.close("kept");
      await tasks.end("ending", "job", 1);
      const before = await subject.store.changes.latest();
      expect(await tasks.prune(100)).toBe(2);
      expect(await changesAfter(subject.store, before)).toEqual(["task delete gone"]);
      expect((await tasks.list(0, 10)).map(({ id }) => id)).toEqual(["active", "ending", "kept"]);
      expect((await open(task("x"), "old")).outcome).toBe("opened");
      expect((await open(task("y"), "new")).outcome).toBe("replayed");
      expect((await open(task("gone"))).outcome).toBe("opened");
    });

    it("keeps 200 parallel writes of different callers apart: each whole or not at all, each with its own answer", async () => {
      await open(task("live"));
      await open(task("over"));
      await subject.store.tasks.end("over", "job", 1);
      await subject.store.credentials.record([credential("twice", { taskId: "live" })]);
      const before = await subject.store.changes.latest();
      const answers = await Promise.allSettled(
        Array.from({ length: 200 }, (_, n) => {
          if (n % 4 === 0) return open(task(`t${n}`));
          if (n % 4 === 1) return subject.store.credentials.record([credential(`c${n}`, { taskId: "live" })]);
          if (n % 4 === 2) return subject.store.credentials.record([credential(`c${n}`, { taskId: "over" })]);
          const first = credential(`c${n}`, { taskId: "live" });
          return subject.store.credentials.record([first, credential("twice", { taskId: "live" })]);
        }),
      );
      for (const [n, answer] of answers.entries()) {
        if (n % 4 === 3) expect(answer.status).toBe("rejected");
        else expect(answer.status).toBe("fulfilled");
        if (n % 4 === 1) expect(answer).toMatchObject({ value: true });
        if (n % 4 === 2) expect(answer).toMatchObject({ value: false });
      }
      expect(await subject.store.tasks.live()).toHaveLength(52);
      const written = (await subject.store.credentials.ofTask("live")).map(({ id }) => id);
      const expected = Array.from({ length: 50 }, (_, n) => `c${4 * n + 1}`);
      expect(written.toSorted()).toEqual(["twice", ...expected].toSorted());
      expect(await subject.store.credentials.ofTask("over")).toEqual([]);
      const opened = Array.from({ length: 50 }, (_, n) => `task put t${4 * n}`);
      expect((await changesAfter(subject.store, before)).toSorted()).toEqual(opened.toSorted());
    });
  });
}

function taskOf(opening: TaskOpening): TaskRecord {
  if (opening.outcome === "replayed") throw new Error("expected a task");
  return opening.task;
}
