import { describe, expect, it } from "vitest";
import { activeAuthorities, SigningWorld } from "../../test/fakes/signing-world.ts";
import { unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { generateEcKeyPair } from "../crypto/keys.ts";
import { validateX509Svid } from "../crypto/x509-svid.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { Signing } from "./signing.ts";

const DAY = 86_400;
const YEAR = 365 * DAY;

describe("the schedule", () => {
  it("prepares a successor in the second half of an authority's life and lets it sign in the last sixth", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const first = activeAuthorities(signing);
    world.told();
    await stepAndKeepUp(world, signing, DAY / 2 - 60);
    expect(world.told()).toEqual([]);
    await stepAndKeepUp(world, signing, 120);
    expect(world.told().toSorted()).toEqual(["jwt prepared", "x509 prepared"]);
    expect(activeAuthorities(signing)).toEqual(first);
    expect(signing.bundle().x509Authorities).toHaveLength(2);
    await stepAndKeepUp(world, signing, DAY / 3 - 180);
    expect(world.told()).toEqual([]);
    await stepAndKeepUp(world, signing, 180);
    expect(world.told().toSorted()).toEqual(
      ["jwt", "x509"].flatMap((kind) => [`${kind} activated`, `${kind} retired superseded`]),
    );
    expect(activeAuthorities(signing).filter((id) => first.includes(id))).toEqual([]);
    expect(signing.bundle().x509Authorities).toHaveLength(2);
  });

  it("does not use a successor that a late start has only just published", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const first = activeAuthorities(signing);
    await stepAndKeepUp(world, signing, DAY - 3600);
    expect(activeAuthorities(signing)).toEqual(first);
    await stepAndKeepUp(world, signing, 599);
    expect(activeAuthorities(signing)).toEqual(first);
    await stepAndKeepUp(world, signing, 1);
    expect(activeAuthorities(signing).filter((id) => first.includes(id))).toEqual([]);
  });

  it("replaces a successor that was prepared by hand so early that it would be old when its turn comes, once", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    await stepAndKeepUp(world, signing, 3600);
    const early = await signing.prepareAuthority("x509");
    await stepAndKeepUp(world, signing, 10 * 3600);
    expect(signing.authorityStates("x509").prepared?.id).toBe(early.id);
    world.told();
    await stepAndKeepUp(world, signing, 3600 + 60);
    const next = signing.authorityStates("x509").prepared?.id;
    expect(next).not.toBe(early.id);
    expect(world.told().toSorted()).toEqual(["jwt prepared", "x509 prepared", "x509 retired superseded"]);
    await stepAndKeepUp(world, signing, 7 * 3600);
    expect(world.told()).toEqual([]);
    await stepAndKeepUp(world, signing, 3600);
    expect(signing.authorityStates("x509").active?.id).toBe(next);
  });

  it("keeps a successor that was prepared by hand not long before it would have been anyway", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    await stepAndKeepUp(world, signing, 9 * 3600);
    const { id } = await signing.prepareAuthority("x509");
    for (let hour = 9; hour < 21; hour++) await stepAndKeepUp(world, signing, 3600);
    expect(signing.authorityStates("x509").active?.id).toBe(id);
  });

  it("keeps every SVID verifiable to its end, and the bundle and the journal small, over a fortnight", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const living: { chain: readonly Uint8Array[]; notAfter: number }[] = [];
    let sequence = 0n;
    for (let hour = 0; hour < 14 * 24; hour++) {
      await world.passWithUpkeep(signing, 3600);
      const { spki } = generateEcKeyPair("ec-p256");
      const spiffeId = parseSpiffeId("spiffe://example.org/w");
      const order = { spiffeId, publicKey: spki, dnsNames: [], ttl: 3600 };
      living.push(await signing.signX509Svid(signing.prepareX509Svid(order)));
      const now = unixSeconds(world.clock);
      const roots = signing.bundle().x509Authorities.map(({ certificate }) => readCertificate(certificate));
      for (const { chain, notAfter } of living) {
        if (notAfter > now)
          validateX509Svid(
            chain.map((der) => readCertificate(der)),
            roots,
            now,
          );
      }
      expect(signing.bundle().sequence).toBeGreaterThanOrEqual(sequence);
      sequence = signing.bundle().sequence;
      expect(roots.length).toBeLessThanOrEqual(5);
      expect(signing.bundle().jwtAuthorities.length).toBeLessThanOrEqual(5);
    }
    expect(world.store.records.size).toBeLessThanOrEqual(10);
    // With four hours left at each change, no SVID of an hour was ever cut short.
    for (const [at, { notAfter }] of living.entries()) {
      if (at > 0) expect(notAfter - (living[at - 1]?.notAfter ?? 0)).toBe(3600);
    }
  });
});

describe("a clock", () => {
  const life = DAY;
  const order = () => ({
    spiffeId: parseSpiffeId("spiffe://example.org/w"),
    publicKey: generateEcKeyPair("ec-p256").spki,
    dnsNames: [],
    ttl: 3600,
  });
  const isTrusted = (signing: Signing, chain: readonly Uint8Array[], now: number) => {
    const roots = signing.bundle().x509Authorities.map(({ certificate }) => readCertificate(certificate));
    const certificates = chain.map((der) => readCertificate(der));
    expect(() => validateX509Svid(certificates, roots, now)).not.toThrow();
  };

  it("that was a year ahead for an hour makes nothing forgotten that was signed before", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const { chain } = await signing.signX509Svid(signing.prepareX509Svid({ ...order(), ttl: 6 * 3600 }));
    const before = signing.authorities().map(({ id }) => id);
    world.clock.step(YEAR * 1000);
    for (let look = 0; look < 360; look++) await stepAndKeepUp(world, signing, 10);
    world.clock.step(-YEAR * 1000);
    await signing.keepUp();
    expect(signing.authorities().map(({ id }) => id)).toEqual(expect.arrayContaining(before));
    isTrusted(signing, chain, unixSeconds(world.clock));
  });

  it.each([
    ["goes on", false],
    ["is restarted", true],
  ])("that was ahead leaves no authority that begins later to a server that %s", async (_, restarts) => {
    await using world = new SigningWorld();
    world.clock.step(YEAR * 1000);
    let signing = await world.open({ wit: true });
    await signing.prepareAuthority("x509");
    world.clock.step(-YEAR * 1000);
    world.told();
    if (restarts) {
      await signing[Symbol.asyncDispose]();
      signing = await world.open({ wit: true });
    } else await signing.keepUp();
    await using _signing = signing;
    const now = unixSeconds(world.clock);
    expect(world.told()).toEqual(
      expect.arrayContaining(["jwt", "wit", "x509"].map((kind) => `${kind} retired not-yet-valid`)),
    );
    const svid = await signing.signX509Svid(signing.prepareX509Svid(order()));
    expect(svid.notAfter).toBe(now + 3600);
    isTrusted(signing, svid.chain, now);
    for (const record of signing.authorities()) {
      if (record.state === "active") expect(record.notBefore).toBeLessThanOrEqual(now);
    }
    await stepAndKeepUp(world, signing, life / 2 + 60);
    expect(world.told().toSorted()).toEqual(
      expect.arrayContaining(["jwt prepared", "wit prepared", "x509 prepared"]),
    );
  });

  it("that is set back by less than a minute changes no authority", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const before = activeAuthorities(signing);
    world.clock.step(-50_000);
    await signing.keepUp();
    expect(activeAuthorities(signing)).toEqual(before);
  });

  it("that is set back by a minute does not prolong the pause after a failure", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ caTtlSeconds: 62 });
    world.clock.step(35_000);
    world.store.commitsLeft = 0;
    await expect(signing.keepUp()).rejects.toThrowCode("STORE_UNAVAILABLE");
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    world.clock.step(-1000);
    await signing.keepUp();
    expect(signing.authorityStates("x509").prepared).toBeDefined();
  });

  it("that is set back does not put off what failed while it was ahead", async () => {
    await using world = new SigningWorld();
    const signing = await world.open();
    await using _signing = signing;
    world.clock.step(YEAR * 1000);
    world.store.commitsLeft = 0;
    await expect(signing.keepUp()).rejects.toThrowCode("STORE_UNAVAILABLE");
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    world.clock.step((2 * DAY - YEAR) * 1000);
    await signing.keepUp();
    expect(signing.x509AuthorityNotAfter()).toBe(unixSeconds(world.clock) + life);
  });
});

async function stepAndKeepUp(world: SigningWorld, signing: Signing, seconds: number): Promise<void> {
  world.clock.step(seconds * 1000);
  await signing.keepUp();
}
