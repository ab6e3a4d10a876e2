import { expect, it } from "vitest";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { openMemoryKeyManager } from "../keys/memory/memory.ts";
import type { Signing } from "./signing.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;

/** Lets hours pass with a look at each. */
async function pass(world: SigningWorld, signing: Signing, hours: number): Promise<void> {
  for (let hour = 0; hour < hours; hour++) {
    world.clock.step(HOUR * 1000);
    await signing.keepUp();
  }
}

/** A world in which a second server has lived for a moment; gives the ids of its authorities. */
async function afterAnother(world: SigningWorld): Promise<readonly string[]> {
  const { keyManager } = world;
  world.keyManager = openMemoryKeyManager();
  const other = await world.open({ serverId: "two", wit: true });
  const ids = other.authorities().map(({ id }) => id);
  await other[Symbol.asyncDispose]();
  await world.keyManager[Symbol.asyncDispose]();
  world.keyManager = keyManager;
  return ids;
}

it("authorities of a server that never comes back are forgotten two days after their end, and no sooner", async () => {
  await using world = new SigningWorld();
  const ids = await afterAnother(world);
  await using signing = await world.open({ wit: true });
  const isKnown = () => ids.every((id) => world.store.records.has(id));
  expect(signing.bundle().x509Authorities).toHaveLength(2);
  await pass(world, signing, 2 * 24 + 23);
  expect(isKnown()).toBe(true);
  await pass(world, signing, 3);
  expect(ids.filter((id) => world.store.records.has(id))).toEqual([]);
  const { x509Authorities, jwtAuthorities, witAuthorities } = signing.bundle();
  const own = signing.authorities();
  expect(jwtAuthorities.map(({ keyId }) => keyId).filter((id) => ids.includes(id))).toEqual([]);
  expect(witAuthorities.map(({ keyId }) => keyId).filter((id) => ids.includes(id))).toEqual([]);
  expect(x509Authorities).toHaveLength(own.filter(({ kind }) => kind === "x509").length);
});

it("a clock that is a year ahead for hours makes nothing of others forgotten", async () => {
  await using world = new SigningWorld();
  const ids = await afterAnother(world);
  await using signing = await world.open();
  world.clock.step(365 * DAY * 1000);
  await pass(world, signing, 12);
  world.clock.step(-365 * DAY * 1000);
  await signing.keepUp();
  expect(ids.every((id) => world.store.records.has(id))).toBe(true);
  // And the pause does not last until that year has come.
  await pass(world, signing, 4 * 24);
  expect(ids.some((id) => world.store.records.has(id))).toBe(false);
});

it("nothing is written where nothing has ended", async () => {
  await using world = new SigningWorld();
  await afterAnother(world);
  await using signing = await world.open();
  const { sequence } = signing.bundle();
  world.store.commitsLeft = 0;
  await pass(world, signing, 10);
  expect(signing.bundle().sequence).toBe(sequence);
});
