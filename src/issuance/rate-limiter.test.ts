import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { RateLimiter } from "./rate-limiter.ts";

describe("rate limits", () => {
  it("allows a burst and then the average", () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ perSecond: 2, burst: 4 }, clock);
    limiter.take("a", 4);
    expect(() => limiter.take("a")).toThrowCode("RATE_LIMITED", "0.5 s");
    clock.step(500);
    limiter.take("a");
    expect(() => limiter.take("a")).toThrowCode("RATE_LIMITED");
  });

  it("keeps keys apart", () => {
    const limiter = new RateLimiter({ perSecond: 1, burst: 1 }, new FakeClock());
    limiter.take("a");
    limiter.take("b");
    expect(() => limiter.take("a")).toThrowCode("RATE_LIMITED");
  });

  it("takes nothing for a refused amount, and says that a batch is too large", () => {
    const limiter = new RateLimiter({ perSecond: 1, burst: 3 }, new FakeClock());
    expect(() => limiter.take("a", 4)).toThrowCode("RATE_LIMITED", "smaller batch");
    limiter.take("a", 3);
  });

  it("neither fills nor drains a bucket when the clock is set back", () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ perSecond: 1, burst: 2 }, clock);
    limiter.take("a");
    clock.step(-3_600_000);
    limiter.take("a");
    expect(() => limiter.take("a")).toThrowCode("RATE_LIMITED");
  });

  it("stays bounded, forgetting full buckets first and then those unused for longest", () => {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ perSecond: 0.001, burst: 1 }, clock, 100);
    for (let i = 0; i < 1_000; i++) limiter.take(`key-${i}`);
    expect(limiter.size).toBeLessThanOrEqual(100);
    expect(() => limiter.take("key-999")).toThrowCode("RATE_LIMITED");
    clock.step(2_000_000);
    for (let i = 0; i < 100; i++) limiter.take(`fresh-${i}`);
    expect(limiter.size).toBe(100);
    for (let i = 0; i < 100; i++) expect(() => limiter.take(`fresh-${i}`)).toThrowCode("RATE_LIMITED");
  });
});
