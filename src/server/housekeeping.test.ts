import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { unixSeconds } from "../clock.ts";
import { silentLog } from "../observe/log.ts";
import { startHousekeeping } from "./housekeeping.ts";

const DAY = 86_400;

function started(clock: FakeClock) {
  const pruned: { readonly tasks: number[]; readonly credentials: number[] } = { tasks: [], credentials: [] };
  const into = (list: number[]) => (before: number) => {
    list.push(before);
    return Promise.resolve(0);
  };
  const housekeeping = startHousekeeping({
    registry: {
      entries: { pruneExpired: () => Promise.resolve([]) },
      joinTokens: { prune: () => Promise.resolve(0) },
    } as never,
    store: {
      tasks: { prune: into(pruned.tasks) },
      credentials: { prune: into(pruned.credentials) },
      changes: { latest: () => Promise.resolve(0) },
    } as never,
    clock,
    log: silentLog,
  });
  return { pruned, housekeeping };
}

describe("housekeeping", () => {
  it("forgets what was issued a day after its end, and tasks a week after theirs", async () => {
    const clock = new FakeClock();
    const { pruned, housekeeping } = started(clock);
    await clock.advance(5000);
    expect(pruned).toEqual({
      credentials: [unixSeconds(clock) - DAY],
      tasks: [unixSeconds(clock) - 7 * DAY],
    });
    await housekeeping[Symbol.asyncDispose]();
  });

  it("does not follow a clock that jumps ahead: evidence that was used must not become good again", async () => {
    const clock = new FakeClock();
    const { pruned, housekeeping } = started(clock);
    const before = unixSeconds(clock);
    clock.step(365 * DAY * 1000);
    await clock.advance(10_000);
    expect(pruned.tasks.length).toBeGreaterThan(1);
    expect(Math.max(...pruned.tasks)).toBeLessThan(before - 6 * DAY);
    expect(Math.max(...pruned.credentials)).toBeLessThan(before - DAY / 2);
    await housekeeping[Symbol.asyncDispose]();
  });
});
