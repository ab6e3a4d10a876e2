import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { orderedUuid } from "./entry-id.ts";

describe("ids of registration entries", () => {
  it("are UUIDs of version 7 that hold the time", () => {
    const clock = new FakeClock();
    const id = orderedUuid(clock, randomBytes)();
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toBe(clock.now());
  });

  it("grow, within a millisecond, past its counter and when the clock is set back", () => {
    const clock = new FakeClock();
    const next = orderedUuid(clock, randomBytes);
    const ids = Array.from({ length: 10_000 }, next);
    clock.step(-60_000);
    ids.push(next(), next());
    clock.step(120_000);
    ids.push(next());
    expect(ids).toEqual(ids.toSorted());
    expect(new Set(ids).size).toBe(ids.length);
  });
});
