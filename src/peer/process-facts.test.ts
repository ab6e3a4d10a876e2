import fc from "fast-check";
import { expect, it } from "vitest";
import { readProcessFacts, startTimeIn } from "./process-facts.ts";

it("reads this process's start time and effective ids", () => {
  const facts = readProcessFacts(process.pid);
  expect(facts).toMatchObject({ uid: process.geteuid?.(), gid: process.getegid?.() });
  expect(facts?.startTime).toMatch(/^\d+$/);
  expect(readProcessFacts(process.pid)).toEqual(facts);
});

it("knows nothing about a process that is not there", () => {
  expect(readProcessFacts(2 ** 30)).toBeUndefined();
});

it("finds the start time behind any program name", () => {
  const rest = `S 1 ${"7 ".repeat(17)}424242 9 9`;
  fc.assert(
    fc.property(fc.string(), (name) => {
      expect(startTimeIn(`12 (${name}) ${rest}`)).toBe("424242");
    }),
  );
  expect(startTimeIn("12 (x) S 1 2")).toBeUndefined();
  expect(startTimeIn("")).toBeUndefined();
});
