import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { sampleTask } from "../../test/fakes/task.ts";
import { unixSeconds } from "../clock.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import type { Store } from "../store/store.ts";
import { openTasks } from "./open-tasks.ts";
import type { Tasks } from "./tasks.ts";

const IDS = ["a", "b", "c"];
const id = fc.constantFrom(...IDS);
const step = fc.oneof(
  fc.record({
    kind: fc.constant("open" as const),
    id,
    lease: fc.integer({ min: 60, max: 300 }),
    cap: fc.integer({ min: 1, max: 900 }),
  }),
  fc.record({ kind: fc.constant("heartbeat" as const), id }),
  fc.record({ kind: fc.constant("end" as const), id }),
  fc.record({ kind: fc.constant("restart" as const) }),
  fc.record({ kind: fc.constant("pass" as const), seconds: fc.integer({ min: 0, max: 200 }) }),
  fc.record({ kind: fc.constant("jump" as const), seconds: fc.integer({ min: 0, max: 1000 }) }),
);

/** What is known of a task by whoever only counted. */
interface Life {
  end: number;
  lease: number;
  cap: number;
  over: boolean;
}

it("outlives neither lease nor cap, whatever is called, restarted or done to the clock", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      await using world = await World.open();
      for (const one of steps) {
        switch (one.kind) {
          case "open":
            await world.start(one.id, one.lease, one.cap);
            break;
          case "heartbeat":
            await world.heartbeat(one.id);
            break;
          case "end":
            await world.end(one.id);
            break;
          case "restart":
            await world.restart();
            break;
          case "pass":
            await world.clock.advance(one.seconds * 1000);
            break;
          case "jump":
            world.clock.step(one.seconds * 1000);
        }
        await world.check();
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);

class World implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly folder = mkdtempSync(join(tmpdir(), "lives-"));
  readonly lives = new Map<string, Life>();
  readonly told = new Set<string>();
  store!: Store;
  tasks!: Tasks;
  #evidence = 0;

  static async open(): Promise<World> {
    const world = new World();
    world.store = await openSqliteStore({
      folder: world.folder,
      trustDomain: parseTrustDomain("example.org"),
      clock: world.clock,
    });
    await world.serve();
    return world;
  }

  get now(): number {
    return unixSeconds(this.clock);
  }

  async serve(): Promise<void> {
    this.tasks = await openTasks({ store: this.store, clock: this.clock });
    this.tasks.onEnding((task) => void this.told.add(task.id));
  }

  async restart(): Promise<void> {
    await this.tasks[Symbol.asyncDispose]();
    await this.serve();
  }

  async start(name: string, lease: number, cap: number): Promise<void> {
    const hardEnd = this.now + cap;
    const leaseExpiresAt = Math.min(this.now + lease, hardEnd);
    const opening = await this.tasks.open(sampleTask(name, this.now, { lease, leaseExpiresAt, hardEnd }), {
      replayKey: String(++this.#evidence),
      until: this.now + 600,
    });
    expect(opening.outcome === "opened").toBe(!this.lives.has(name));
    if (opening.outcome === "opened") {
      this.lives.set(name, { end: leaseExpiresAt, lease, cap: hardEnd, over: false });
    }
  }

  async heartbeat(name: string): Promise<void> {
    const life = this.lives.get(name);
    const expected = life !== undefined && !life.over && this.now < life.end;
    const outcome = await this.tasks.heartbeat(name).then(
      (task) => task.leaseExpiresAt,
      () => undefined,
    );
    expect(outcome !== undefined).toBe(expected);
    if (life !== undefined && outcome !== undefined) {
      expect(outcome).toBe(Math.min(this.now + life.lease, life.cap));
      life.end = outcome;
    }
  }

  async end(name: string): Promise<void> {
    const life = this.lives.get(name);
    if (life === undefined) return;
    await this.tasks.end(name, "job");
    life.over = true;
  }

  async check(): Promise<void> {
    for (const [name, life] of this.lives) {
      life.over ||= this.now >= life.end;
      const alive = await this.tasks.active(name).then(
        () => true,
        () => false,
      );
      expect(alive).toBe(!life.over);
    }
    await this.tasks.catchUp();
    for (const [name, life] of this.lives) {
      expect((await this.store.tasks.get(name))?.state === "active").toBe(!life.over);
      if (life.over) expect(this.told).toContain(name);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tasks[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
