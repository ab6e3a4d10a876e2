import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalSelectors, formatSelector, parseSelector, type Selector } from "../spiffe/selector.ts";
import { type Demanding, SelectorIndex } from "./match.ts";

const selector = fc.constantFrom("a:1", "a:2", "b:1", "b:2", "c:1", "c:2").map(parseSelector);
const demands = fc.array(selector, { minLength: 1, maxLength: 4 }).map(canonicalSelectors);

function naive(things: Iterable<Demanding>, seen: readonly Selector[]): string[] {
  const texts = seen.map(formatSelector);
  return [...things]
    .filter((thing) => thing.selectors.every((one) => texts.includes(formatSelector(one))))
    .map((thing) => thing.id)
    .toSorted();
}

describe("SelectorIndex", () => {
  it("finds what a look at everything finds, however things came, changed and went", () => {
    const step = fc.record({
      id: fc.constantFrom("p", "q", "r", "s", "t"),
      put: fc.option(demands, { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.array(selector, { maxLength: 6 }), (steps, seen) => {
        const index = new SelectorIndex<Demanding>();
        const all = new Map<string, Demanding>();
        for (const { id, put } of steps) {
          if (put === undefined) {
            index.delete(id);
            all.delete(id);
          } else {
            index.put({ id, selectors: put });
            all.set(id, { id, selectors: put });
          }
        }
        const matched = index.match(seen).map((thing) => thing.id);
        expect(matched.toSorted()).toEqual(naive(all.values(), seen));
        for (const miss of index.nearest(seen, 100)) {
          expect(matched).not.toContain(miss.entry.id);
          expect(miss.missing.length).toBeGreaterThan(0);
          expect(
            miss.missing.every((one) => !seen.some((two) => formatSelector(one) === formatSelector(two))),
          ).toBe(true);
        }
      }),
    );
  });

  it("never finds what demands nothing", () => {
    const index = new SelectorIndex<Demanding>();
    index.put({ id: "all", selectors: [] });
    expect(index.match([parseSelector("a:1")])).toEqual([]);
  });

  it("does not look at a crowd that one rare selector tells apart", () => {
    const index = new SelectorIndex<Demanding>();
    let looks = 0;
    for (let n = 0; n < 1000; n++) {
      const selectors = canonicalSelectors([parseSelector("unix:gid:1"), parseSelector(`unix:uid:${n}`)]);
      index.put({
        id: `e${n}`,
        get selectors() {
          looks++;
          return selectors;
        },
      });
    }
    looks = 0;
    const found = index.match([parseSelector("unix:gid:1"), parseSelector("unix:uid:7")]);
    expect(found.map((thing) => thing.id)).toEqual(["e7"]);
    // The first of all waits under the common selector, as nothing was crowded then.
    expect(looks).toBeLessThanOrEqual(2);
  });

  it("ranks near misses by what is missing, then by what was met, then by id", () => {
    const index = new SelectorIndex<Demanding>();
    const put = (id: string, ...texts: string[]) => index.put({ id, selectors: texts.map(parseSelector) });
    put("two-missing", "a:1", "x:1", "x:2");
    put("b-one-met", "a:1", "x:1");
    put("a-one-met", "b:1", "x:1");
    put("two-met", "a:1", "b:1", "x:1");
    put("matches", "a:1");
    put("strange", "y:1");
    const nearest = index.nearest([parseSelector("a:1"), parseSelector("b:1")], 10);
    expect(nearest.map((miss) => miss.entry.id)).toEqual([
      "two-met",
      "a-one-met",
      "b-one-met",
      "two-missing",
    ]);
    expect(nearest[3]?.missing.map(formatSelector)).toEqual(["x:1", "x:2"]);
    expect(index.nearest([parseSelector("a:1"), parseSelector("b:1")], 1)).toHaveLength(1);
    expect(index.nearest([parseSelector("a:1"), parseSelector("b:1")], 0)).toEqual([]);
  });

  it("gives of the near misses the first ones of all, of those that it is to keep", () => {
    fc.assert(
      fc.property(
        fc.array(demands, { maxLength: 30 }),
        fc.array(selector, { maxLength: 4 }),
        fc.nat(8),
        (all, seen, limit) => {
          const index = new SelectorIndex<Demanding>();
          for (const [n, selectors] of all.entries()) index.put({ id: `e${n}`, selectors });
          const keeps = ({ id }: Demanding) => !id.endsWith("3");
          const ids = index.nearest(seen, 1000).map((miss) => miss.entry);
          const kept = index.nearest(seen, limit, keeps).map((miss) => miss.entry);
          expect(kept).toEqual(ids.filter(keeps).slice(0, limit));
        },
      ),
    );
  });
});
