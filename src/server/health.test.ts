import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { createHealth, degradedChecks } from "./health.ts";

describe("the health of a server", () => {
  it("is not ready before it was looked at", async () => {
    await using world = setUp();
    expect(world.health.state()).toEqual({ live: true, ready: false, checks: [] });
    expect(await world.health.refresh()).toMatchObject({ ready: true });
  });

  it("follows the store, and tells of each change once", async () => {
    await using world = setUp();
    await world.health.refresh();
    let changes = 0;
    world.health.onChange(() => (changes += 1));
    world.fault = new AssayError("STORE_UNAVAILABLE", "disk is full");
    await world.clock.advance(10_000);
    expect(world.health.state()).toMatchObject({
      live: true,
      ready: false,
      checks: [{ name: "store", ok: false, detail: "disk is full" }, { ok: true }, { ok: true }],
    });
    expect(changes).toBe(1);
    world.fault = undefined;
    await world.clock.advance(5_000);
    expect(world.health.state().ready).toBe(true);
    expect(changes).toBe(2);
  });

  it("is not ready with an authority that has expired", async () => {
    await using world = setUp();
    world.clock.step(60_000);
    expect(await world.health.refresh()).toMatchObject({
      ready: false,
      checks: [{ ok: true }, { name: "x509_authority", ok: false }, { name: "jwt_authority", ok: true }],
    });
  });

  it("is ready though an upstream authority or a key manager elsewhere is in trouble, and says so", async () => {
    const upstream = () => ({ isConfigured: true, hasRoots: true, failing: ["mint", "watch"] });
    const keyState = () => ({ status: "degraded", since: 0, cause: "no answer" }) as const;
    const degraded = () => degradedChecks({ upstream }, keyState);
    await using world = setUp(degraded);
    const { ready, checks } = await world.health.refresh();
    expect(ready).toBe(true);
    expect(checks.slice(3)).toEqual([
      { name: "upstream_authority", ok: false, detail: "failed to mint, watch" },
      { name: "key_manager", ok: false, detail: "no answer" },
    ]);
  });

  it("has no checks of what is not elsewhere", () => {
    expect(
      degradedChecks({ upstream: () => ({ isConfigured: false, hasRoots: false, failing: [] }) }, undefined),
    ).toEqual([]);
  });

  it("looks no more once it is disposed", async () => {
    const world = setUp();
    await world[Symbol.asyncDispose]();
    expect(world.clock.pending).toBe(0);
  });
});

function setUp(degraded?: Parameters<typeof createHealth>[0]["degraded"]) {
  const clock = new FakeClock();
  const end = clock.now() / 1000 + 60;
  const world = {
    clock,
    fault: undefined as AssayError | undefined,
    health: createHealth({
      ...(degraded !== undefined && { degraded }),
      clock,
      store: {
        async check() {
          if (world.fault !== undefined) throw world.fault;
        },
      },
      signing: { x509AuthorityNotAfter: () => end, jwtAuthorityNotAfter: () => end + 60 },
    }),
    [Symbol.asyncDispose]: () => world.health[Symbol.asyncDispose](),
  };
  return world;
}
