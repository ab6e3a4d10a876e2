import fc from "fast-check";
import { expect, it } from "vitest";
import { putOrdered, removeOrdered } from "./ordered-records.ts";
import { pageOf } from "./paging.ts";

const list = Array.from({ length: 10 }, (_, n) => ({ ordinal: n * 3 + 1 }));
const all = () => true;

it("gives a full last page a token, and an empty page without one after it", () => {
  const first = pageOf(list, { pageSize: 5 }, all);
  const second = pageOf(list, { pageSize: 5, pageToken: first.nextPageToken }, all);
  expect(second.items).toEqual(list.slice(5));
  expect(second.nextPageToken).not.toBe("");
  expect(pageOf(list, { pageSize: 5, pageToken: second.nextPageToken }, all)).toEqual({
    items: [],
    nextPageToken: "",
  });
});

it("gives everything without a token where no size is asked for or the size is huge", () => {
  for (const pageSize of [undefined, 0, 10_001, 2 ** 31 - 1]) {
    expect(pageOf(list, { pageSize }, all)).toEqual({ items: list, nextPageToken: "" });
  }
});

it("never gives more than 10,000 at once", () => {
  const long = Array.from({ length: 10_001 }, (_, n) => ({ ordinal: n + 1 }));
  const page = pageOf(long, {}, all);
  expect(page.items).toHaveLength(10_000);
  expect(pageOf(long, { pageToken: page.nextPageToken }, all).items).toEqual([{ ordinal: 10_001 }]);
});

it.each([-1, 1.5, Number.NaN])("refuses a page of %s", (pageSize) => {
  expect(() => pageOf(list, { pageSize }, all)).toThrowCode("INVALID_REQUEST", /page size/);
});

it.each([
  "x",
  "0",
  "5",
  "!!!!",
  Buffer.from("after:").toString("base64url"),
  Buffer.from("after:0").toString("base64url"),
  Buffer.from("after:-1").toString("base64url"),
  Buffer.from("after:1e3").toString("base64url"),
  Buffer.from("after: 7").toString("base64url"),
  Buffer.from("after:9007199254740993").toString("base64url"),
  Buffer.from("after:7").toString("base64"),
  `${Buffer.from("after:7").toString("base64url")}=`,
  "A".repeat(100_000),
])("refuses the token %.40s", (pageToken) => {
  const wellFormed = pageToken === Buffer.from("after:7").toString("base64url");
  if (!wellFormed)
    expect(() => pageOf(list, { pageToken }, all)).toThrowCode("INVALID_PAGE_TOKEN", /page token/);
});

it("gives each record that stays exactly once, and none twice, whatever comes and goes between pages", () => {
  const change = fc.record({ remove: fc.array(fc.nat(60)), add: fc.nat(3) });
  fc.assert(
    fc.property(fc.nat(40), fc.integer({ min: 1, max: 7 }), fc.array(change), (start, pageSize, changes) => {
      let next = 1;
      const records: { ordinal: number }[] = [];
      for (; next <= start; next++) putOrdered(records, { ordinal: next });
      const removed = new Set<number>();
      const seen: number[] = [];
      let pageToken = "";
      for (let n = 0; ; n++) {
        const page = pageOf(records, { pageSize, pageToken }, all);
        seen.push(...page.items.map((record) => record.ordinal));
        pageToken = page.nextPageToken;
        if (pageToken === "") break;
        for (const ordinal of changes[n]?.remove ?? []) {
          removeOrdered(records, ordinal);
          removed.add(ordinal);
        }
        for (let count = changes[n]?.add ?? 0; count > 0; count--) putOrdered(records, { ordinal: next++ });
      }
      expect(seen).toEqual([...new Set(seen)]);
      for (let ordinal = 1; ordinal <= start; ordinal++) {
        if (!removed.has(ordinal)) expect(seen).toContain(ordinal);
      }
    }),
  );
});
