import { describe, expect, it } from "vitest";
import { Subscription } from "./subscription.ts";

describe("a subscription that is told whole", () => {
  it("wants everything where it never named anything", () => {
    const one = new Subscription();
    expect(one.replace([])).toBe(true);
    expect(one.all).toBe(true);
    expect(one.replace([])).toBe(false);
    expect(one.all).toBe(true);
  });

  it("wants nothing where it names nothing any more", () => {
    const one = new Subscription();
    one.replace(["a"]);
    expect(one.replace([])).toBe(true);
    expect([one.all, one.names.size]).toEqual([false, 0]);
  });

  it("knows a set by its members, not by their order or number", () => {
    const one = new Subscription();
    expect(one.replace(["a", "b", "a"])).toBe(true);
    expect(one.replace(["b", "a"])).toBe(false);
    expect(one.replace(["b"])).toBe(true);
    expect([...one.names]).toEqual(["b"]);
  });

  it("takes an asterisk for everything, beside names", () => {
    const one = new Subscription();
    expect(one.replace(["*", "a"])).toBe(true);
    expect([one.all, [...one.names]]).toEqual([true, ["a"]]);
    expect(one.replace(["a"])).toBe(true);
    expect(one.all).toBe(false);
  });
});

describe("a subscription that is told by changes", () => {
  it("wants everything if its first change names nothing, and only then", () => {
    const one = new Subscription();
    one.change([], []);
    expect(one.all).toBe(true);
    const other = new Subscription();
    other.change(["a"], []);
    other.change([], ["a"]);
    other.change([], []);
    expect([other.all, other.names.size]).toEqual([false, 0]);
  });

  it("adds, removes, and ends a wildcard by name", () => {
    const one = new Subscription();
    one.change(["*", "a"], []);
    one.change(["b"], ["*", "a", "never"]);
    expect([one.all, [...one.names]]).toEqual([false, ["b"]]);
  });
});

describe("any subscription", () => {
  const many = Array.from({ length: 1001 }, (_, i) => `n${i}`);

  it("has at most 1000 names", () => {
    expect(() => new Subscription().replace(many)).toThrowCode("INVALID_REQUEST", /at most 1000/);
    const one = new Subscription();
    one.change(many.slice(0, 1000), []);
    expect(() => one.change(["another"], [])).toThrowCode("INVALID_REQUEST");
    expect(new Subscription().replace(many.slice(1))).toBe(true);
  });

  it.each([[""], ["x".repeat(2049)], ["é".repeat(1025)]])("has no name that cannot be one", (name) => {
    expect(() => new Subscription().replace([name])).toThrowCode("INVALID_REQUEST", /1 to 2048 bytes/);
    expect(() => new Subscription().change([name], [])).toThrowCode("INVALID_REQUEST");
  });
});
