import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { targetUrl } from "./dpop-guard.ts";
import { DpopNonces } from "./dpop-nonces.ts";
import { ReplayMemory } from "./replay-memory.ts";

describe("ReplayMemory", () => {
  it("knows what it has seen in a bucket, until the bucket is forgotten", () => {
    const seen = new ReplayMemory();
    expect(seen.remember(1, "a")).toBe(true);
    expect(seen.remember(1, "a")).toBe(false);
    expect(seen.remember(2, "a")).toBe(true);
    seen.forgetBefore(2);
    expect(seen.size).toBe(1);
    expect(seen.remember(2, "a")).toBe(false);
  });

  it("takes nothing that it could not remember, and has room again when a bucket is forgotten", () => {
    const seen = new ReplayMemory(2);
    seen.remember(1, "a");
    seen.remember(2, "b");
    expect(() => seen.remember(2, "c")).toThrowCode("OVERLOADED");
    expect(seen.remember(2, "b")).toBe(false);
    seen.forgetBefore(2);
    expect(seen.remember(2, "c")).toBe(true);
  });
});

describe("DpopNonces", () => {
  const clock = new FakeClock("2026-11-22T12:00:30Z");
  const nonces = new DpopNonces(clock, Buffer.alloc(32, 1));

  it("gives one a minute, each good for five minutes after its own", () => {
    const first = nonces.current();
    expect(nonces.current()).toBe(first);
    const step = nonces.stepOf(first);
    clock.step(60_000);
    expect(nonces.current()).not.toBe(first);
    clock.step(4 * 60_000);
    expect(nonces.stepOf(first)).toBe(step);
    clock.step(60_000);
    expect(nonces.stepOf(first)).toBeUndefined();
  });

  it("knows none of another key, nor of a time to come", () => {
    expect(nonces.stepOf(new DpopNonces(clock, Buffer.alloc(32, 2)).current())).toBeUndefined();
    const ahead = new DpopNonces(new FakeClock("2027-01-01T00:00:00Z"), Buffer.alloc(32, 1));
    expect(nonces.stepOf(ahead.current())).toBeUndefined();
  });

  it("knows nothing that anybody made up", () => {
    const good = nonces.current();
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((tail) => `${good}${tail}`),
        ),
        (text) => {
          expect(nonces.stepOf(text) !== undefined).toBe(text === good);
        },
      ),
    );
  });
});

describe("targetUrl", () => {
  it.each([
    ["https://a.example", "/oauth2/token", "https://a.example/oauth2/token"],
    ["https://a.example/", "/oauth2/token?x=1", "https://a.example/oauth2/token"],
    ["https://a.example/p", "/oauth2/token", "https://a.example/p/oauth2/token"],
    ["https://a.example/p", "/p/oauth2/token", "https://a.example/p/oauth2/token"],
    ["https://a.example:8443/p/", "/pq/x", "https://a.example:8443/p/pq/x"],
  ])("of the issuer %s and the target %s is %s", (issuer, asked, url) => {
    expect(targetUrl(issuer, asked)).toBe(url);
  });
});
