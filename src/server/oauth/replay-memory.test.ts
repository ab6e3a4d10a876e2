import { randomUUID } from "node:crypto";
import fc from "fast-check";
import type { FastifyRequest } from "fastify";
import { describe, expect, it } from "vitest";
import { makeKey, type TestKey } from "../../../test/fakes/certificates.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { createDpopProof } from "../../crypto/jose/dpop.ts";
import { spkiThumbprint } from "../../crypto/jose/thumbprint.ts";
import { DpopGuard, targetUrl } from "./dpop-guard.ts";
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

  it("keeps room for others once one has taken half of it", () => {
    const seen = new ReplayMemory(2048);
    const floods = (holder: string) => {
      let taken = 0;
      expect(() => {
        for (; taken < 5000; taken++) seen.remember(taken % 5, `${holder} ${taken}`, holder);
      }).toThrowCode("OVERLOADED");
      return taken;
    };
    expect(floods("one")).toBe(1024);
    expect(floods("two")).toBe(8);
    expect(seen.remember(1, "a", "three")).toBe(true);
    expect(seen.remember(1, "a", "three")).toBe(false);
    // What is forgotten counts no more.
    seen.forgetBefore(4);
    expect(seen.remember(5, "b", "one")).toBe(true);
  });
});

describe("DpopGuard", () => {
  const clock = new FakeClock("2026-11-22T12:00:30Z");
  const options = { clock, issuer: "https://a.example", nonceKey: Buffer.alloc(32, 1), capacity: 256 };
  const nonce = new DpopNonces(clock, options.nonceKey).current();
  const request = (key: TestKey, address: string, accessToken?: string) =>
    ({
      method: "POST",
      url: "/x",
      socket: { remoteAddress: address },
      headers: {
        dpop: createDpopProof(key.privateKey, {
          method: "POST",
          url: "https://a.example/x",
          jti: randomUUID(),
          now: Math.floor(clock.now() / 1000),
          nonce,
          ...(accessToken !== undefined && { accessToken }),
        }),
      },
    }) as unknown as FastifyRequest;
  const flood = async (by: () => Promise<string>) => {
    await expect(
      (async () => {
        for (let n = 0; n < 300; n++) await by();
      })(),
    ).rejects.toThrowCode("OVERLOADED");
  };

  it("lets a task take no room of other tasks", async () => {
    const guard = new DpopGuard(options);
    const [one, two] = [makeKey(), makeKey()];
    const call = (key: TestKey, token: string, bound = key) =>
      guard.admit(request(key, "192.0.2.1", token), { token, jkt: spkiThumbprint(bound.spki) });
    // Nor does it get anywhere with other keys than its own.
    for (let n = 0; n < 300; n++) {
      await expect(call(makeKey(), "one", one)).rejects.toThrowCode("INVALID_ACCESS_TOKEN");
    }
    await flood(() => call(one, "one"));
    await expect(call(two, "two")).resolves.toBe(spkiThumbprint(two.spki));
  });

  it("lets an address take no room of others, whatever keys it makes, nor by the addresses of its network", async () => {
    const guard = new DpopGuard(options);
    let n = 0;
    await flood(() => guard.admit(request(makeKey(), `2001:db8::${(++n).toString(16)}`)));
    await expect(guard.admit(request(makeKey(), "2001:db8:0:1::1"))).resolves.toMatch(/^.{43}$/);
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
