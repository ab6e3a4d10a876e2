import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { DeadlinePassed, pause, withDeadline } from "./deadline.ts";

let clock: FakeClock;
beforeEach(() => {
  clock = new FakeClock();
});
const forever = () => new Promise<never>(() => undefined);

describe("withDeadline", () => {
  it("gives what the call gives and leaves no timer behind", async () => {
    expect(await withDeadline({ clock, timeout: 10 }, async () => 7)).toBe(7);
    await expect(
      withDeadline({ clock, timeout: 10 }, async () => {
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    expect(clock.pending).toBe(0);
  });

  it("gives up a call that pays no attention to its signal", async () => {
    let told: AbortSignal | undefined;
    const call = withDeadline({ clock, timeout: 10 }, (signal) => {
      told = signal;
      return forever();
    });
    const refused = expect(call).rejects.toBeInstanceOf(DeadlinePassed);
    await clock.advance(10);
    await refused;
    expect(told?.aborted).toBe(true);
  });

  it("ends with the caller's reason, also before it began", async () => {
    const abort = new AbortController();
    const call = withDeadline({ clock, timeout: 10, signal: abort.signal }, forever);
    abort.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
    let begun = false;
    const late = withDeadline({ clock, timeout: 10, signal: abort.signal }, async () => {
      begun = true;
    });
    await expect(late).rejects.toThrow("enough");
    expect(begun).toBe(false);
    expect(clock.pending).toBe(0);
  });
});

describe("pause", () => {
  it("ends when the time is over or the signal says so", async () => {
    const abort = new AbortController();
    const first = pause(clock, 10, abort.signal);
    await clock.advance(10);
    await first;
    const second = pause(clock, 10, abort.signal);
    abort.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    await expect(pause(clock, 10, abort.signal)).rejects.toThrow("enough");
    expect(clock.pending).toBe(0);
  });
});
