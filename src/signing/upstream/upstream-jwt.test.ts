import { describe, expect, it, onTestFinished } from "vitest";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { SigningWorld } from "../../../test/fakes/signing-world.ts";
import { failed, open, place, roots, until } from "../../../test/fakes/upstream-world.ts";

const down = () => new AssayError("UPSTREAM_UNAVAILABLE", "connection refused");

describe("JWT authorities", () => {
  it("are published upstream before they sign", async () => {
    const { world, upstream } = await place();
    const signing = await open(world, { rs256: true });
    const own = signing.bundle().jwtAuthorities.map(({ keyId }) => keyId);
    expect(upstream.published.map(({ keyId }) => keyId).toSorted()).toEqual(own.toSorted());
    expect(own).toHaveLength(2);
  });

  it("that cannot be published are not used", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    upstream.failure = down();
    await expect(signing.prepareAuthority("jwt")).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    expect(signing.authorityStates("jwt").prepared).toBeUndefined();
  });

  it("that the upstream does not list afterwards are not used", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    upstream.publishJwtKey = async () => [];
    await expect(signing.prepareAuthority("jwt")).rejects.toThrowCode("UPSTREAM_REFUSED", /not among/);
  });

  it("are our own affair where none are published upstream", async () => {
    const { world, upstream } = await place();
    Object.defineProperty(upstream, "publishJwtKey", { value: undefined });
    const signing = await open(world);
    expect(signing.bundle().jwtAuthorities).toHaveLength(1);
  });

  it("of others come into the bundle, are marked there, and leave it as they do upstream", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const other = {
      keyId: "other",
      publicKey: makeKey().spki,
      expiresAt: unixSeconds(world.clock) + 9000,
      tainted: false,
    };
    upstream.jwtKeys.push(other);
    upstream.tell();
    await until(() => signing.bundle().jwtAuthorities.length === 2);
    upstream.jwtKeys[1] = { ...other, tainted: true };
    upstream.tell();
    await until(() => signing.bundle().jwtAuthorities.some(({ tainted: marked }) => marked));
    upstream.jwtKeys = [];
    upstream.tell();
    await until(() => signing.bundle().jwtAuthorities.length === 1);
    // Our own stays, whatever is said of it.
    expect(signing.bundle().jwtAuthorities[0]?.keyId).toBe(signing.authorityStates("jwt").active?.id);
  });

  it("of ours stay, though they were heard of upstream before we had written them down", async () => {
    const { world, upstream } = await place();
    const publish = upstream.publishJwtKey.bind(upstream);
    upstream.publishJwtKey = async (key) => {
      const keys = await publish(key);
      upstream.tell();
      return keys;
    };
    const signing = await open(world);
    await signing.prepareAuthority("jwt");
    upstream.jwtKeys = [];
    upstream.tell();
    await world.clock.advance(1000);
    expect(signing.bundle().jwtAuthorities).toHaveLength(2);
  });

  it("of ours are published again where upstream has lost them", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    upstream.jwtKeys = [];
    upstream.tell();
    await until(() => upstream.jwtKeys.length === 1);
    expect(upstream.jwtKeys[0]?.keyId).toBe(signing.authorityStates("jwt").active?.id);
    upstream.tell();
    await world.clock.advance(1000);
    expect(upstream.published).toHaveLength(2);
  });

  it("of others are not what was revoked here", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const own = signing.authorityStates("jwt").active ?? failed();
    await signing.prepareAuthority("jwt");
    await signing.activateAuthority("jwt");
    await signing.taintAuthority("jwt", own.id);
    await signing.revokeAuthority("jwt", own.id);
    const { publicKey, notAfter: expiresAt } = own;
    const good = { keyId: "good", publicKey: makeKey().spki, expiresAt, tainted: false };
    upstream.jwtKeys.push({ keyId: "another", publicKey, expiresAt, tainted: false }, good);
    upstream.tell();
    const ids = () => signing.bundle().jwtAuthorities.map(({ keyId }) => keyId);
    await until(() => ids().includes("good"));
    expect(ids()).toHaveLength(2);
  });

  it("of others that cannot be are left out and told of once, and hold up nothing else", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const ids = () => signing.bundle().jwtAuthorities.map(({ keyId }) => keyId);
    const good = {
      keyId: "good",
      publicKey: makeKey().spki,
      expiresAt: unixSeconds(world.clock) + 9000,
      tainted: false,
    };
    const offCurve = Uint8Array.from(good.publicKey);
    offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1;
    upstream.jwtKeys.push(
      { ...good, keyId: "x".repeat(2000) },
      { ...good, keyId: "" },
      { ...good, keyId: "late", expiresAt: 2 ** 63 },
      { ...good, keyId: "early", expiresAt: -1 },
      { ...good, keyId: "no key", publicKey: Uint8Array.of(1) },
      { ...good, keyId: "off its curve", publicKey: offCurve },
      good,
    );
    const old = upstream.signer;
    const next = upstream.makeRoot("next");
    upstream.signer = next;
    upstream.roots.push({ root: next, tainted: false });
    world.told();
    upstream.tell();
    await until(() => ids().includes("good"));
    expect(ids()).toHaveLength(2);
    expect(roots(signing)).toEqual([old.id, next.id]);
    expect(signing.upstream().failing).toEqual([]);
    const skipped = world.told().filter((text) => text === "upstream-key-skipped UPSTREAM_REFUSED");
    expect(skipped).toHaveLength(6);
    upstream.tell();
    await signing.prepareAuthority("jwt");
    await signing.prepareAuthority("x509");
    expect(world.told().filter((text) => text.startsWith("upstream"))).toEqual([]);
    // What comes back after it was gone is told of again.
    const bad = upstream.jwtKeys.splice(1, 1);
    upstream.tell();
    upstream.jwtKeys.push(...bad);
    upstream.tell();
    await until(() => world.told().includes("upstream-key-skipped UPSTREAM_REFUSED"));
  });

  it("of others cannot take the place of ours", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const [own] = signing.bundle().jwtAuthorities;
    upstream.jwtKeys = [{ ...(own ?? failed()), publicKey: makeKey().spki }];
    upstream.tell();
    await world.clock.advance(1000);
    expect(signing.bundle().jwtAuthorities).toEqual([own]);
  });
});

describe("JWT authorities of servers below", () => {
  it("go up to the root of all, or stay in the own bundle where there is no upstream", async () => {
    const { world, upstream } = await place();
    const signing = await open(world);
    const key = {
      keyId: "below",
      publicKey: makeKey().spki,
      expiresAt: unixSeconds(world.clock) + 600,
      tainted: false,
    };
    await signing.publishJwtAuthority(key);
    expect(upstream.published.at(-1)).toEqual(key);
    expect(signing.bundle().jwtAuthorities.map(({ keyId }) => keyId)).toContain("below");
    // It is trusted because upstream says so, and no longer than that.
    upstream.jwtKeys.pop();
    upstream.tell();
    await until(() => signing.bundle().jwtAuthorities.length === 1);
  });

  it.each(["jwt", "wit"] as const)("are not what was revoked here as %s", async (kind) => {
    const world = new SigningWorld();
    onTestFinished(() => world[Symbol.asyncDispose]());
    const signing = await open(world, { wit: true });
    const own = signing.authorityStates(kind).active ?? failed();
    await signing.prepareAuthority(kind);
    await signing.activateAuthority(kind);
    await signing.taintAuthority(kind, own.id);
    await signing.revokeAuthority(kind, own.id);
    const before = signing.bundle();
    const key = { expiresAt: unixSeconds(world.clock) + 600, tainted: false };
    for (const again of [
      { ...key, keyId: own.id, publicKey: own.publicKey },
      { ...key, keyId: own.id, publicKey: makeKey().spki },
      { ...key, keyId: "another", publicKey: own.publicKey },
    ]) {
      for (const publish of [signing.publishJwtAuthority, signing.publishWitAuthority]) {
        await expect(publish(again)).rejects.toThrowCode("PRECONDITION_FAILED", /revoked/);
      }
    }
    expect(signing.bundle()).toEqual(before);
  });

  it("are taken in bounded number", async () => {
    const world = new SigningWorld();
    onTestFinished(() => world[Symbol.asyncDispose]());
    const signing = await open(world);
    const publicKey = makeKey().spki;
    const expiresAt = unixSeconds(world.clock) + 600;
    const many = Array.from({ length: 999 }, (_, n) => ({
      keyId: `key-${n}`,
      publicKey,
      expiresAt,
      tainted: false,
    }));
    await signing.appendToBundle({ x509Authorities: [], jwtAuthorities: many });
    await expect(
      signing.publishJwtAuthority({ keyId: "more", publicKey, expiresAt, tainted: false }),
    ).rejects.toThrowCode("PRECONDITION_FAILED", /1000/);
  });
});
