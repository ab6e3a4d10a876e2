import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { JwtSvidCache } from "./jwt-svid-cache.ts";
import type { WorkloadJwtSvid } from "./read-jwt-svids.ts";

const spiffeId = parseSpiffeId("spiffe://example.org/x");

function makeCache() {
  const clock = new FakeClock(1_000_000_000_000);
  const problems: string[] = [];
  const cache = new JwtSvidCache({ clock, onProblem: ({ code }) => problems.push(code) });
  const now = () => clock.now() / 1000;
  let count = 0;
  const fetch = async (): Promise<WorkloadJwtSvid> => ({
    spiffeId,
    hint: "",
    token: `token-${++count}`,
    audience: ["a"],
    issuedAt: now(),
    expiresAt: now() + 300,
  });
  const get = async (by = fetch, key = "key") => (await cache.get(key, by)).token;
  const failWith = (code: ConstructorParameters<typeof AssayError>[0]) => () =>
    Promise.reject(new AssayError(code, "failed"));
  return { cache, clock, problems, fetch, get, failWith, fetched: () => count };
}

describe("JWT-SVIDs kept for their audience", () => {
  it("are given out until half their life has passed, then fetched anew", async () => {
    const { clock, get } = makeCache();
    expect(await get()).toBe("token-1");
    clock.step(149_000);
    expect(await get()).toBe("token-1");
    clock.step(1000);
    expect(await get()).toBe("token-2");
  });

  it("are fetched once for all who wait", async () => {
    const { get, fetched } = makeCache();
    expect(await Promise.all([get(), get(), get()])).toEqual(["token-1", "token-1", "token-1"]);
    expect(fetched()).toBe(1);
  });

  it.each(["SERVER_UNAVAILABLE", "NOT_READY", "INVALID_JWT_SVID", "DEADLINE_EXCEEDED"] as const)(
    "serve on after %s while they are valid, and no longer",
    async (code) => {
      const { clock, get, failWith, problems } = makeCache();
      await get();
      clock.step(200_000);
      expect(await get(failWith(code))).toBe("token-1");
      expect(problems).toEqual([code]);
      clock.step(96_000);
      await expect(get(failWith(code))).rejects.toThrowCode(code);
    },
  );

  it.each(["NO_IDENTITY_ISSUED", "AUTHORIZATION_DENIED"] as const)("are forgotten at %s", async (code) => {
    const { clock, get, failWith } = makeCache();
    await get();
    clock.step(200_000);
    await expect(get(failWith(code))).rejects.toThrowCode(code);
    await expect(get(failWith("NOT_READY"))).rejects.toThrowCode("NOT_READY");
  });

  it("are forgotten when the source is told to, what is on its way included", async () => {
    const { cache, get, fetch } = makeCache();
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = get(async () => {
      await promise;
      return fetch();
    });
    cache.clear();
    resolve();
    expect(await slow).toBe("token-1");
    expect(await get()).toBe("token-2");
  });

  it("are at most a thousand, the oldest forgotten first", async () => {
    const { get } = makeCache();
    for (let key = 0; key <= 1000; key++) await get(undefined, `key-${key}`);
    expect(await get(undefined, "key-1")).toBe("token-2");
    expect(await get(undefined, "key-0")).toBe("token-1002");
  });
});
