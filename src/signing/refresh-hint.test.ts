import { describe, expect, it } from "vitest";
import { activeAuthorities, SigningWorld } from "../../test/fakes/signing-world.ts";
import { FakeUpstream } from "../../test/fakes/upstream.ts";
import { unixSeconds } from "../clock.ts";
import type { Signing } from "./signing.ts";

const DAY = 86_400;

describe("the refresh hint", () => {
  it.each([60, 600, 3600, DAY, 120 * DAY])(
    "of authorities that live for %i seconds has everybody ask again before a successor signs",
    async (life) => {
      await using world = new SigningWorld();
      world.store.write((bundle) => ({ ...bundle, refreshHint: DAY }));
      await using signing = await world.open({ caTtlSeconds: life, refreshHintSeconds: DAY });
      const first = signing.authorityStates("x509").active?.id;
      /** When whoever asked last before the successor was there asks again. */
      let asks = 0;
      while (signing.authorityStates("x509").active?.id === first) {
        if (signing.authorityStates("x509").prepared === undefined) {
          asks = unixSeconds(world.clock) + signing.bundle().refreshHint;
        }
        world.clock.step(Math.max(1, life / 500) * 1000);
        await signing.keepUp();
      }
      expect(asks).toBeGreaterThan(0);
      expect(unixSeconds(world.clock)).toBeGreaterThan(asks);
    },
  );

  it("is what the bundle says where authorities live long enough", async () => {
    await using world = new SigningWorld();
    world.store.write((bundle) => ({ ...bundle, refreshHint: 300 }));
    await using signing = await world.open();
    expect(signing.bundle().refreshHint).toBe(300);
    expect(signing.longestRefreshHint()).toBeGreaterThan(3600);
  });

  it("is told with every bundle, and the same bundle is the same object", async () => {
    await using world = new SigningWorld();
    world.store.write((bundle) => ({ ...bundle, refreshHint: 300 }));
    await using signing = await world.open({ caTtlSeconds: 60 });
    const longest = signing.longestRefreshHint();
    expect(longest).toBeLessThan(10);
    expect(signing.bundle().refreshHint).toBe(longest);
    expect(signing.bundle()).toBe(signing.bundle());
    const told: number[] = [];
    using _ = signing.onBundleChange(({ refreshHint }) => void told.push(refreshHint));
    await signing.prepareAuthority("x509");
    expect(told).toEqual([longest]);
    const appended = await signing.appendToBundle({ x509Authorities: [], jwtAuthorities: [] });
    expect(appended.refreshHint).toBe(longest);
  });

  it("is waited for by a successor that a late start has only just published", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ refreshHintSeconds: 3600 });
    const first = activeAuthorities(signing);
    await stepAndKeepUp(world, signing, DAY - 2 * 3600);
    await stepAndKeepUp(world, signing, 3600);
    expect(activeAuthorities(signing)).toEqual(first);
    await stepAndKeepUp(world, signing, 1800);
    expect(activeAuthorities(signing).filter((id) => first.includes(id))).toEqual([]);
  });

  it("is waited for where an upstream authority takes over", async () => {
    const world = new SigningWorld();
    const first = await world.open();
    await first[Symbol.asyncDispose]();
    world.upstream = new FakeUpstream(world.clock);
    await using signing = await world.open({ refreshHintSeconds: 3600 });
    const { active } = signing.authorityStates("x509");
    await stepAndKeepUp(world, signing, 3600);
    expect(signing.authorityStates("x509").active?.id).toBe(active?.id);
    await stepAndKeepUp(world, signing, 1800);
    expect(signing.authorityStates("x509").active?.id).not.toBe(active?.id);
  });
});

async function stepAndKeepUp(world: SigningWorld, signing: Signing, seconds: number): Promise<void> {
  world.clock.step(seconds * 1000);
  await signing.keepUp();
}
