import { expect, it } from "vitest";
import { makeKey } from "../../test/fakes/certificates.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { FakeUpstream } from "../../test/fakes/upstream.ts";
import { idOf } from "../../test/fakes/upstream-world.ts";
import { unixSeconds } from "../clock.ts";
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

const keyIds = (signing: Signing) => signing.bundle().jwtAuthorities.map(({ keyId }) => keyId);
const roots = (signing: Signing) =>
  signing.bundle().x509Authorities.map(({ certificate }) => idOf(certificate));

function key(keyId: string, expiresAt: number) {
  return { keyId, expiresAt, publicKey: makeKey().spki, tainted: false };
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

it("keys that others published are forgotten two days after their end, and those without an end never", async () => {
  await using world = new SigningWorld();
  await using signing = await world.open({ wit: true });
  const now = unixSeconds(world.clock);
  await signing.publishJwtAuthority(key("below", now + HOUR));
  await signing.appendToBundle({
    x509Authorities: [],
    jwtAuthorities: [key("short", now + HOUR), key("long", now + 30 * DAY), key("endless", 0)],
    witAuthorities: [key("wit", now + HOUR)],
  });
  const witIds = () => signing.bundle().witAuthorities.map(({ keyId }) => keyId);
  await pass(world, signing, 48);
  expect(keyIds(signing)).toEqual(expect.arrayContaining(["below", "short"]));
  expect(witIds()).toContain("wit");
  await pass(world, signing, 4);
  expect(keyIds(signing)).not.toContain("below");
  expect(keyIds(signing)).not.toContain("short");
  expect(witIds()).not.toContain("wit");
  expect(keyIds(signing)).toEqual(expect.arrayContaining(["long", "endless"]));
});

it("roots and keys upstream are forgotten two days after their end, though they be listed there", async () => {
  await using world = new SigningWorld();
  const upstream = new FakeUpstream(world.clock);
  world.upstream = upstream;
  const brief = upstream.makeRoot("brief", DAY);
  upstream.roots.push({ root: brief, tainted: false });
  upstream.jwtKeys = [key("above", unixSeconds(world.clock) + DAY)];
  await using signing = await world.open();
  const isKnown = () => roots(signing).includes(brief.id) && keyIds(signing).includes("above");
  upstream.tell();
  await pass(world, signing, 2 * 24 + 23);
  expect(isKnown()).toBe(true);
  for (let hour = 0; hour < 3; hour++) {
    await pass(world, signing, 1);
    upstream.tell();
  }
  await pass(world, signing, 1);
  expect(roots(signing)).toEqual([upstream.signer.id]);
  expect(keyIds(signing)).not.toContain("above");
  const records = [...world.store.records.values()].filter(({ serverId }) => serverId === "upstream");
  expect(records.map(({ notAfter }) => notAfter).filter((end) => end < unixSeconds(world.clock))).toEqual([]);
  const { sequence } = signing.bundle();
  upstream.tell();
  await signing.keepUp();
  expect(signing.bundle().sequence).toBe(sequence);
});

it("a clock that is ahead for hours takes no root and no key upstream away", async () => {
  await using world = new SigningWorld();
  const upstream = new FakeUpstream(world.clock);
  world.upstream = upstream;
  const brief = upstream.makeRoot("brief", 5 * DAY);
  upstream.roots.push({ root: brief, tainted: false });
  upstream.jwtKeys = [key("above", unixSeconds(world.clock) + 5 * DAY)];
  await using signing = await world.open();
  upstream.tell();
  await signing.keepUp();
  world.clock.step(365 * DAY * 1000);
  await pass(world, signing, 12);
  world.clock.step(-365 * DAY * 1000);
  await signing.keepUp();
  expect(roots(signing)).toContain(brief.id);
  expect(keyIds(signing)).toContain("above");
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
