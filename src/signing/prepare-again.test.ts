import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import type { AuthorityKind } from "../store/records.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { failed, issue, open, place, until } from "../../test/fakes/upstream-world.ts";

const HOUR = 3600;

describe("a successor that is prepared already, when another one cannot be made,", () => {
  it.each<AuthorityKind>(["x509", "jwt"])("stays where the %s one is not signed upstream", async (kind) => {
    const { world, upstream } = await place();
    const signing = await open(world, { caTtlSeconds: HOUR });
    await world.passWithUpkeep(signing, 1900);
    const { prepared } = signing.authorityStates(kind);
    expect(prepared).toBeDefined();
    upstream.failure = new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");
    await expect(signing.prepareAuthority(kind)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    expect(signing.authorityStates(kind).prepared).toEqual(prepared);
    expect(await signing.activateAuthority(kind, prepared?.id)).toMatchObject({ state: "active" });
    await issue(signing, world);
  });

  it("signs when its turn comes, though upstream is down all the time", async () => {
    const { world, upstream } = await place();
    const signing = await open(world, { caTtlSeconds: HOUR });
    await world.passWithUpkeep(signing, 1900);
    const { prepared } = signing.authorityStates("x509");
    upstream.failure = new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");
    await expect(signing.prepareAuthority("x509")).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    world.clock.step(1800_000);
    await signing.keepUp().catch(() => undefined);
    expect(signing.authorityStates("x509").active?.id).toBe(prepared?.id);
    await issue(signing, world);
  });

  it("signs at the latest when the active one ends, though its root is tainted and upstream is down", async () => {
    const { world, upstream } = await place();
    const signing = await open(world, { caTtlSeconds: HOUR });
    await world.passWithUpkeep(signing, 1900);
    const { active, prepared } = signing.authorityStates("x509");
    upstream.failure = new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");
    upstream.roots = [
      { root: upstream.signer, tainted: true },
      { root: upstream.makeRoot("next"), tainted: false },
    ];
    upstream.tell();
    await until(() => signing.bundle().x509Authorities.length === 2);
    for (let minute = 0; minute < 27; minute++) {
      world.clock.step(60_000);
      await signing.keepUp().catch(() => undefined);
      expect(signing.authorityStates("x509").active?.id).toBe(active?.id);
    }
    for (let second = 0; second < 180; second += 10) {
      world.clock.step(10_000);
      await signing.keepUp().catch(() => undefined);
      await issue(signing, world);
    }
    expect(signing.authorityStates("x509").active?.id).toBe(prepared?.id);
    upstream.failure = undefined;
    upstream.signer = upstream.roots[1]?.root ?? upstream.signer;
    world.clock.step(300_000);
    await signing.keepUp();
    expect(signing.upstreamIdOf(signing.authorityStates("x509").active ?? failed())).toBe(upstream.signer.id);
  });

  it("is not lost to one that was to replace it for its age", async () => {
    const { world, upstream } = await place();
    const signing = await open(world, { caTtlSeconds: 24 * HOUR });
    const early = await signing.prepareAuthority("x509");
    upstream.failure = new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");
    world.clock.step(12.5 * HOUR * 1000);
    await expect(signing.keepUp()).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    expect((await signing.activateAuthority("x509")).id).toBe(early.id);
    await issue(signing, world);
  });

  it.each<AuthorityKind>(["x509", "jwt", "wit"])(
    "stays where the key manager makes no %s key, though it had taken the place of the old one",
    async (kind) => {
      await using world = new SigningWorld();
      await using signing = await world.open({ wit: true });
      const prepared = await signing.prepareAuthority(kind);
      const generate = world.keyManager.generateKey.bind(world.keyManager);
      world.keyManager.generateKey = async (id, type) => {
        await generate(id, type);
        throw new AssayError("KEY_UNAVAILABLE", "no answer");
      };
      await expect(signing.prepareAuthority(kind)).rejects.toThrowCode("KEY_UNAVAILABLE");
      const key = await world.keyManager.getKey(prepared.keyId);
      expect(key?.publicKey).toEqual(prepared.publicKey);
      expect((await signing.activateAuthority(kind)).id).toBe(prepared.id);
    },
  );

  it("goes on after a restart with the one that was prepared last", async () => {
    await using world = new SigningWorld();
    let last: string;
    {
      await using signing = await world.open();
      await signing.prepareAuthority("x509");
      last = (await signing.prepareAuthority("x509")).id;
    }
    await using signing = await world.open();
    expect(signing.authorityStates("x509").prepared?.id).toBe(last);
    expect((await signing.activateAuthority("x509")).id).toBe(last);
  });
});
