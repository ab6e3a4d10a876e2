import { expect, it } from "vitest";
import { listNeeded, type SignedList } from "./own-list.ts";

const NOW = 1_800_000_000;

function list(number: bigint): SignedList {
  return { number, thisUpdate: NOW - 60, nextUpdate: NOW + 86_400, serials: new Set() };
}

it("needs no other list where the one that is there is fresh and the newest", () => {
  expect(listNeeded([], list(7n), NOW)).toBeUndefined();
  expect(listNeeded([], list(8n), NOW, 7n)).toBeUndefined();
});

it("needs one with a larger number where others may have been given out that nobody remembers", () => {
  expect(listNeeded([], list(7n), NOW, 7n)?.order.number).toBe(8n);
  expect(listNeeded([], list(7n), NOW, 5000n)?.order.number).toBe(5001n);
  expect(listNeeded([], undefined, NOW, 5000n)?.order.number).toBe(5001n);
  expect(listNeeded([], undefined, NOW)?.order.number).toBe(1n);
});
