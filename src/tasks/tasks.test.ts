import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { sampleTask } from "../../test/fakes/task.ts";
import { unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import type { Store } from "../store/store.ts";
import type { NewTask, TaskRecord } from "../store/task-store.ts";
import { openTasks } from "./open-tasks.ts";
import type { TaskEvent, Tasks } from "./tasks.ts";

const trustDomain = parseTrustDomain("example.org");

let folder: string;
let clock: FakeClock;
let store: Store;
let tasks: Tasks;
let events: TaskEvent[];
let faults: unknown[];
const open: AsyncDisposable[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tasks-"));
  clock = new FakeClock();
  events = [];
  faults = [];
  store = await openSqliteStore({ folder, trustDomain, clock });
  tasks = await another();
});

afterEach(async () => {
  for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** One more server's view of the same store. */
async function another(over = store): Promise<Tasks> {
  const opened = await openTasks({
    store: over,
    clock,
    report: (event) => void events.push(event),
    onFault: (error) => void faults.push(error),
  });
  open.push(opened);
  return opened;
}

let evidence = 0;

async function start(id: string, change: Partial<NewTask> = {}, by = tasks): Promise<TaskRecord> {
  const opening = await by.open(sampleTask(id, unixSeconds(clock), change), {
    replayKey: `token-${++evidence}`,
    until: unixSeconds(clock) + 600,
  });
  if (opening.outcome === "replayed") throw new Error("replayed");
  return opening.task;
}

/** What a listener was told, in order. */
function told(by = tasks): string[] {
  const ids: string[] = [];
  by.onEnding(({ id, state }) => void ids.push(`${id} ${state}`));
  return ids;
}

describe("a task", () => {
  it("is alive until its lease has run out, and then ends by itself", async () => {
    const ended = told();
    await start("a");
    await clock.advance(119_999);
    expect((await tasks.active("a")).state).toBe("active");
    await clock.advance(1);
    await tasks.catchUp();
    await expect(tasks.active("a")).rejects.toThrowCode("TASK_OVER");
    expect(ended).toEqual(["a ending"]);
    expect(events).toMatchObject([{ kind: "ended", task: { id: "a", endReason: "lease" } }]);
    expect(await store.tasks.get("a")).toMatchObject({ state: "ended", endReason: "lease" });
    expect(tasks.live).toBe(0);
  });

  it("is over by the clock before any timer has fired", async () => {
    await start("a");
    clock.step(120_000);
    await expect(tasks.active("a")).rejects.toThrowCode("TASK_OVER");
    await expect(tasks.heartbeat("a")).rejects.toThrowCode("TASK_OVER");
  });

  it("is kept alive by heartbeats up to its cap and no further", async () => {
    told();
    const { hardEnd } = await start("a", { hardEnd: unixSeconds(clock) + 300 });
    for (let i = 0; i < 3; i++) {
      await clock.advance(90_000);
      expect((await tasks.heartbeat("a")).leaseExpiresAt).toBe(Math.min(unixSeconds(clock) + 120, hardEnd));
    }
    await clock.advance(29_999);
    await tasks.active("a");
    await clock.advance(1);
    await tasks.catchUp();
    await expect(tasks.heartbeat("a")).rejects.toThrowCode("TASK_OVER");
    expect(events).toMatchObject([{ kind: "ended", task: { endReason: "cap" } }]);
  });

  it("ends once, whoever ends it and how often", async () => {
    const ended = told();
    await start("a");
    const outcomes = await Promise.all([
      tasks.end("a", "job"),
      tasks.end("a", "operator"),
      tasks.end("a", "platform"),
    ]);
    expect(outcomes.filter(({ first }) => first)).toHaveLength(1);
    expect(outcomes.every(({ task }) => task.state !== "active")).toBe(true);
    const reason = outcomes.find(({ first }) => first)?.task.endReason;
    expect((await tasks.end("a", "operator")).task.endReason).toBe(reason);
    expect(ended).toEqual(["a ending"]);
    expect(events).toEqual([]);
  });

  it("that nobody opened cannot be found, kept or ended", async () => {
    await expect(tasks.active("x")).rejects.toThrowCode("TASK_NOT_FOUND");
    await expect(tasks.heartbeat("x")).rejects.toThrowCode("TASK_NOT_FOUND");
    await expect(tasks.end("x", "job")).rejects.toThrowCode("TASK_NOT_FOUND");
  });

  it("is found by its id and its key while it lives", async () => {
    told();
    const task = await start("a");
    expect(tasks.get("a")).toEqual(task);
    expect(tasks.byKey(task.key)).toEqual(task);
    expect(tasks.list()).toEqual([task]);
    await tasks.end("a", "job");
    await tasks.catchUp();
    await expect.poll(() => tasks.live).toBe(0);
    expect(tasks.byKey(task.key)).toBeUndefined();
  });

  it("is given nothing by a clock that was set back", async () => {
    await start("a");
    clock.step(-3_600_000);
    // Whoever looks next sees it; from there the task has one lease and no more.
    await tasks.catchUp();
    await clock.advance(120_000);
    await tasks.catchUp();
    expect(events).toMatchObject([{ kind: "ended", task: { endReason: "lease" } }]);
  });

  it("ends soon after the clock was set forward", async () => {
    await start("a", { lease: 300, leaseExpiresAt: unixSeconds(clock) + 300 });
    clock.step(3_600_000);
    await clock.advance(5000);
    await tasks.catchUp();
    expect(events).toMatchObject([{ kind: "ended" }]);
  });
});

describe("the end of a task", () => {
  it("is told again until everybody has heard, and only then is the task ended", async () => {
    let fails = 2;
    const heard: string[] = [];
    tasks.onEnding(async ({ id }) => {
      if (fails-- > 0) throw new AssayError("STORE_UNAVAILABLE", "not now");
      heard.push(id);
    });
    await start("a");
    await tasks.end("a", "job");
    await new Promise(setImmediate);
    await clock.advance(1000);
    expect(heard).toEqual([]);
    expect(await store.tasks.get("a")).toMatchObject({ state: "ending" });
    await clock.advance(1000);
    await expect.poll(async () => (await store.tasks.get("a"))?.state).toBe("ended");
    expect(heard).toEqual(["a"]);
    expect(faults).toHaveLength(2);
  });

  it("waits for the first listener", async () => {
    await start("a");
    await tasks.end("a", "job");
    expect(await store.tasks.get("a")).toMatchObject({ state: "ending" });
    const heard = told();
    await expect.poll(async () => (await store.tasks.get("a"))?.state).toBe("ended");
    expect(heard).toEqual(["a ending"]);
  });

  it("goes on after a restart, and so do leases", async () => {
    await start("a");
    await start("b");
    await tasks.end("a", "job");
    await tasks[Symbol.asyncDispose]();
    clock.step(60_000);
    const again = await another();
    expect(events).toMatchObject([{ kind: "found", task: { id: "a" } }]);
    const heard = told(again);
    await again.active("b");
    await clock.advance(60_000);
    await again.catchUp();
    await expect.poll(() => again.live).toBe(0);
    expect(heard).toEqual(["a ending", "b ending"]);
  });

  it("comes at once where the lease ran out while no server was there", async () => {
    await start("a");
    await tasks[Symbol.asyncDispose]();
    clock.step(600_000);
    const again = await another();
    const heard = told(again);
    await expect(again.active("a")).rejects.toThrowCode("TASK_OVER");
    await clock.advance(0);
    await again.catchUp();
    expect(heard).toEqual(["a ending"]);
  });
});

describe("several servers on one store", () => {
  it("see each other's tasks, heartbeats and ends", async () => {
    told();
    const other = await another();
    const heard = told(other);
    await start("a");
    await other.catchUp();
    expect(other.get("a")?.state).toBe("active");
    await clock.advance(100_000);
    await other.heartbeat("a");
    await clock.advance(100_000);
    await tasks.catchUp();
    expect((await tasks.active("a")).leaseExpiresAt).toBe(unixSeconds(clock) + 20);
    await other.end("a", "job");
    await tasks.catchUp();
    await expect(tasks.active("a")).rejects.toThrowCode("TASK_OVER");
    expect(heard).toEqual(["a ending"]);
  });

  it("find a task that they have not heard of yet", async () => {
    const other = await openTasks({ store: deaf(store), clock });
    open.push(other);
    await start("a");
    expect(other.get("a")).toBeUndefined();
    expect((await other.active("a")).id).toBe("a");
  });

  it("do not end a task whose heartbeat another one took", async () => {
    const other = await openTasks({ store: deaf(store), clock, report: (event) => void events.push(event) });
    open.push(other);
    await start("a");
    await other.active("a");
    await clock.advance(100_000);
    await tasks.heartbeat("a");
    await clock.advance(60_000);
    await other.catchUp();
    expect((await tasks.active("a")).state).toBe("active");
    expect(events).toEqual([]);
  });

  it("take over the end of one that went away in the middle of it", async () => {
    const other = await another();
    const heard = told(other);
    // This one never gets to tell: it has no listener.
    await start("a");
    await tasks.end("a", "job");
    await other.catchUp();
    await clock.advance(29_000);
    expect(heard).toEqual([]);
    await clock.advance(1000);
    await other.catchUp();
    expect(heard).toEqual(["a ending"]);
    expect(events).toMatchObject([{ kind: "found", task: { id: "a" } }]);
  });
});

describe("memory", () => {
  it("waits for thousands of tasks with one timer", async () => {
    for (let i = 0; i < 300; i++) await start(`t${i}`);
    await tasks.catchUp();
    const before = clock.pending;
    await start("one-more");
    expect(clock.pending).toBe(before);
  });

  it("goes on after the store could not be read", async () => {
    told();
    await start("a");
    const extend = store.tasks.end;
    let broken = true;
    (store.tasks as { end: typeof extend }).end = (...order) =>
      broken ? Promise.reject(new AssayError("STORE_UNAVAILABLE", "disk")) : extend.apply(store.tasks, order);
    await clock.advance(121_000);
    await tasks.catchUp();
    expect(faults.length).toBeGreaterThan(0);
    await expect(tasks.active("a")).rejects.toThrowCode("TASK_OVER");
    broken = false;
    await clock.advance(2000);
    await tasks.catchUp();
    expect(events).toMatchObject([{ kind: "ended" }]);
  });
});

/** A store whose change log says nothing to who subscribes. */
function deaf(of: Store): Store {
  const changes = {
    latest: () => Promise.resolve(0),
    since: () => Promise.resolve([]),
    subscribe: () => ({ [Symbol.dispose]() {} }),
    prune: () => Promise.resolve(),
  };
  return { ...bound(of), changes };
}

function bound(of: Store): Store {
  return Object.assign(Object.create(of) as Store, { tasks: of.tasks });
}
