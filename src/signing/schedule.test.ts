import { describe, expect, it } from "vitest";
import { activeAuthorities, SigningWorld } from "../../test/fakes/signing-world.ts";
import { unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { generateEcKeyPair } from "../crypto/keys.ts";
import { validateX509Svid } from "../crypto/x509-svid.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { Signing } from "./signing.ts";

const DAY = 86_400;

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

  it("keeps every SVID verifiable to its end, and the bundle and the journal small, over a fortnight", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const living: { chain: readonly Uint8Array[]; notAfter: number }[] = [];
    let sequence = 0n;
    for (let hour = 0; hour < 14 * 24; hour++) {
      await stepAndKeepUp(world, signing, 3600);
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

async function stepAndKeepUp(world: SigningWorld, signing: Signing, seconds: number): Promise<void> {
  world.clock.step(seconds * 1000);
  await signing.keepUp();
}
