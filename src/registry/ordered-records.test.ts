import fc from "fast-check";
import { expect, it } from "vitest";
import {
  firstAfter,
  type Ordered,
  putOrdered,
  putUnder,
  removeOrdered,
  removeUnder,
} from "./ordered-records.ts";

it("keeps records sorted, each ordinal once, in whatever order they come and go", () => {
  const step = fc.record({ ordinal: fc.integer({ min: 1, max: 15 }), put: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step), fc.integer({ min: 0, max: 16 }), (steps, after) => {
      const list: (Ordered & { readonly n: number })[] = [];
      const map = new Map<number, number>();
      for (const [n, { ordinal, put }] of steps.entries()) {
        if (put) {
          putOrdered(list, { ordinal, n });
          map.set(ordinal, n);
        } else {
          removeOrdered(list, ordinal);
          map.delete(ordinal);
        }
      }
      const sorted = [...map].toSorted(([a], [b]) => a - b);
      expect(list.map(({ ordinal, n }) => [ordinal, n])).toEqual(sorted);
      expect(list.slice(firstAfter(list, after))).toEqual(list.filter((record) => record.ordinal > after));
    }),
  );
});

it("forgets a key with its last record", () => {
  const index = new Map<string, Ordered[]>();
  putUnder(index, "k", { ordinal: 2 });
  putUnder(index, "k", { ordinal: 1 });
  expect(index.get("k")).toEqual([{ ordinal: 1 }, { ordinal: 2 }]);
  removeUnder(index, "k", 1);
  removeUnder(index, "k", 7);
  removeUnder(index, "absent", 1);
  removeUnder(index, "k", 2);
  expect(index.size).toBe(0);
});
