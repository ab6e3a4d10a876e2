import { randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import { RecentPositions } from "./recent-positions.ts";

describe("RecentPositions", () => {
  it.each([1, 2, 3, 10, 1000])("knows the last half of %s keys at least, and no more than all", (limit) => {
    const recent = new RecentPositions(limit);
    const keys = Array.from({ length: 5 * limit + 3 }, () => randomUUID());
    for (const [n, key] of keys.entries()) {
      recent.set(key, n * 2 ** 33);
      const half = Math.max(1, Math.floor(limit / 2));
      for (let back = 0; back < Math.min(half, n + 1, 20); back++) {
        expect(recent.get(keys[n - back] ?? "")).toBe((n - back) * 2 ** 33);
      }
    }
    const known = keys.filter((key) => recent.get(key) !== undefined).length;
    expect(known).toBeGreaterThanOrEqual(Math.floor(limit / 2));
    expect(known).toBeLessThanOrEqual(Math.max(2, limit));
  });

  it("has the latest position of a key that came again, also where the earlier one is older", () => {
    const recent = new RecentPositions(4);
    recent.set("a", 1);
    recent.set("a", 2);
    expect(recent.get("a")).toBe(2);
    recent.set("b", 3);
    recent.set("c", 4);
    recent.set("a", 5);
    expect(recent.get("a")).toBe(5);
    expect(recent.get("nobody")).toBeUndefined();
  });
});
