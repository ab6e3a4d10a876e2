import { describe, expect, it } from "vitest";
import { NumberTable } from "./number-table.ts";

describe("NumberTable", () => {
  it("does what a Map does, in the order of the keys", () => {
    const table = new NumberTable<{ readonly n: number }>();
    const map = new Map<number, { readonly n: number }>();
    for (let n = 0; n < 2000; n++) {
      const [key, gone] = [2 * n + 1, 2 * ((n * 7) % (n + 1)) + 1];
      expect(table.set(key, { n })).toBe(table);
      map.set(key, { n });
      expect(table.delete(gone)).toBe(map.delete(gone));
      expect(table.delete(gone)).toBe(false);
      expect([table.size, table.has(key), table.get(key), table.get(gone)]).toEqual([
        map.size,
        map.has(key),
        map.get(key),
        undefined,
      ]);
    }
    const visited: (readonly [number, { readonly n: number }])[] = [];
    table.forEach((value, key, of) => {
      expect(of).toBe(table);
      visited.push([key, value]);
    });
    expect(visited).toEqual([...map].toSorted(([a], [b]) => a - b));
  });

  it("counts a value once that is set twice, and has none for what is no key", () => {
    const table = new NumberTable<{ readonly n: number }>();
    table.set(5, { n: 1 }).set(5, { n: 2 });
    expect([table.size, table.get(5)]).toEqual([1, { n: 2 }]);
    expect(table.get(Number("a name"))).toBeUndefined();
  });

  it("visits nothing that is taken out meanwhile", () => {
    const table = new NumberTable<object>();
    for (const key of [1, 2, 3]) table.set(key, {});
    const visited: number[] = [];
    table.forEach((_, key) => {
      visited.push(key);
      table.delete(key + 1);
    });
    expect(visited).toEqual([1, 3]);
  });
});
