import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import type { PluginLog } from "../plugin/host.ts";
import { startChores } from "./chores.ts";

let clock: FakeClock;
let warnings: unknown[];
const log: PluginLog = {
  debug() {},
  info() {},
  warn: (_, fields) => void warnings.push(fields),
  error() {},
};

beforeEach(() => {
  clock = new FakeClock();
  warnings = [];
});

describe("startChores", () => {
  it("does a chore at its first time and again after each end", async () => {
    const times: number[] = [];
    const start = clock.now();
    const run = async () => void times.push(clock.now() - start);
    await using _chores = startChores(clock, log, [{ name: "dusting", first: 10, every: 100, run }]);
    await clock.advance(9);
    expect(times).toEqual([]);
    for (let i = 0; i < 30; i++) await clock.advance(10);
    expect(times).toEqual([10, 110, 210].map((time) => expect.closeTo(time, -1) as number));
  });

  it("never does a chore beside itself", async () => {
    let begun = 0;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const run = () => {
      begun++;
      return promise;
    };
    const chores = startChores(clock, log, [{ name: "dusting", first: 0, every: 1, run }]);
    await clock.advance(1000);
    expect(begun).toBe(1);
    resolve(undefined);
    await chores[Symbol.asyncDispose]();
  });

  it("logs what a chore throws and tries it again", async () => {
    let begun = 0;
    const run = async () => {
      begun++;
      throw new Error("no cloth");
    };
    await using _chores = startChores(clock, log, [{ name: "dusting", first: 0, every: 10, run }]);
    await clock.advance(1);
    await clock.advance(20);
    expect(begun).toBeGreaterThan(1);
    expect(warnings[0]).toEqual({ chore: "dusting", error: "Error: no cloth" });
  });

  it("tells a chore at work that it ends, waits for it and begins no other", async () => {
    let ended = false;
    const run = async (signal: AbortSignal) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      ended = true;
      throw signal.reason;
    };
    const chores = startChores(clock, log, [{ name: "dusting", first: 0, every: 10, run }]);
    await clock.advance(1);
    await chores[Symbol.asyncDispose]();
    expect(ended).toBe(true);
    expect(warnings).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});
