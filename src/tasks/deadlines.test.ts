import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadlines } from "./deadlines.ts";

describe("deadlines", () => {
  it("gives what is due, earliest first, and keeps the rest", () => {
    const deadlines = new Deadlines();
    deadlines.set("b", 20);
    deadlines.set("a", 10);
    deadlines.set("c", 30);
    expect(deadlines.next()).toBe(10);
    expect(deadlines.take(25, 10)).toEqual(["a", "b"]);
    expect(deadlines.next()).toBe(30);
    expect(deadlines.take(29, 10)).toEqual([]);
    expect(deadlines.size).toBe(1);
  });

  it("takes no more than it is asked for", () => {
    const deadlines = new Deadlines();
    for (const id of ["a", "b", "c"]) deadlines.set(id, 1);
    expect(deadlines.take(1, 2)).toHaveLength(2);
    expect(deadlines.take(1, 2)).toHaveLength(1);
    expect(deadlines.next()).toBeUndefined();
  });

  it("agrees with a plain table whatever is set, moved and deleted", () => {
    const id = fc.constantFrom("a", "b", "c", "d", "e", "f");
    const step = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), id, at: fc.integer({ min: 0, max: 50 }) }),
      fc.record({ kind: fc.constant("delete" as const), id }),
      fc.record({
        kind: fc.constant("take" as const),
        now: fc.integer({ min: 0, max: 50 }),
        limit: fc.integer({ min: 1, max: 4 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const deadlines = new Deadlines();
        const table = new Map<string, number>();
        for (const one of steps) {
          if (one.kind === "set") {
            deadlines.set(one.id, one.at);
            table.set(one.id, one.at);
          } else if (one.kind === "delete") {
            deadlines.delete(one.id);
            table.delete(one.id);
          } else {
            const expected = [...table.values()].filter((at) => at <= one.now).toSorted((a, b) => a - b);
            const taken = deadlines.take(one.now, one.limit);
            expect(taken.map((name) => table.get(name))).toEqual(expected.slice(0, one.limit));
            for (const name of taken) table.delete(name);
          }
          expect(deadlines.size).toBe(table.size);
          expect(deadlines.next()).toBe(table.size === 0 ? undefined : Math.min(...table.values()));
        }
      }),
      { numRuns: 500 },
    );
  });
});
