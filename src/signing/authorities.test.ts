import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { activeAuthorities, SigningWorld } from "../../test/fakes/signing-world.ts";
import { makeCertificate, makeKey } from "../../test/fakes/certificates.ts";
import { unixSeconds } from "../clock.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { openDiskKeyManager } from "../keys/disk/disk.ts";
import { openMemoryKeyManager } from "../keys/memory/memory.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { Signing } from "./signing.ts";

const DAY = 86_400;

const states = (signing: Signing, kind: AuthorityRecord["kind"]) =>
  signing
    .authorities()
    .filter((record) => record.kind === kind)
    .map(({ state, keyId }) => `${keyId} ${state}`)
    .toSorted();

describe("the first start", () => {
  it("makes, publishes and activates one authority of each kind", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    expect(world.told()).toEqual(["x509 prepared", "x509 activated", "jwt prepared", "jwt activated"]);
    expect(states(signing, "x509")).toEqual(["x509-CA-A active"]);
    expect(states(signing, "jwt")).toEqual(["JWT-Signer-A active"]);
    expect([...world.store.records.values()]).toEqual(signing.authorities());
    const bundle = signing.bundle();
    expect(bundle).toEqual(world.store.bundle);
    expect(bundle.x509Authorities).toHaveLength(1);
    expect(bundle.jwtAuthorities).toHaveLength(1);
    expect(bundle.jwtAuthorities[0]?.keyId).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(bundle.jwtAuthorities[0]?.expiresAt).toBe(signing.jwtAuthorityNotAfter());
  });

  it("makes them as configured", async () => {
    await using world = new SigningWorld();
    const options = { caTtlSeconds: 3600, caKeyType: "ec-p384", jwtKeyType: "rsa-2048" } as const;
    await using signing = await world.open({
      ...options,
      caSubject: { country: "DE", organization: "Ämter" },
    });
    const now = unixSeconds(world.clock);
    expect(signing.x509AuthorityNotAfter()).toBe(now + 3600);
    expect(signing.jwtAuthorityNotAfter()).toBe(now + 3600);
    const keys = await world.keyManager.listKeys();
    expect(keys.map(({ id, type }) => `${id} ${type}`)).toEqual([
      "x509-CA-A ec-p384",
      "JWT-Signer-A rsa-2048",
    ]);
    const certificate = readCertificate(signing.bundle().x509Authorities[0]?.certificate ?? new Uint8Array());
    expect(certificate).toMatchObject({ notBefore: now - 10, notAfter: now + 3600 });
    expect(certificate.subjectAltName?.uris).toEqual(["spiffe://example.org"]);
    expect(Buffer.from(certificate.subject).includes("DE")).toBe(true);
    expect(Buffer.from(certificate.subject).includes("Ämter")).toBe(true);
    const [x509] = signing.authorities();
    expect(Buffer.from(certificate.subjectKeyId ?? []).toString("hex")).toBe(x509?.id);
  });

  it("publishes a key before it becomes active", async () => {
    await using world = new SigningWorld();
    world.store.commitsLeft = 1;
    await expect(world.open()).rejects.toThrowCode("STORE_UNAVAILABLE");
    expect([...world.store.records.values()].map(({ state }) => state)).toEqual(["prepared"]);
    expect(world.store.bundle.x509Authorities).toHaveLength(1);
    expect(world.store.listeners).toBe(0);
  });

  it("goes on with what a crash in the middle of it left prepared", async () => {
    await using world = new SigningWorld();
    world.store.commitsLeft = 1;
    await expect(world.open()).rejects.toThrowCode("STORE_UNAVAILABLE");
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    const [prepared] = world.store.records.keys();
    await using signing = await world.open();
    expect(activeAuthorities(signing)).toContain(prepared);
    expect(signing.bundle().x509Authorities).toHaveLength(1);
  });
});

describe("a restart", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "assay-signing-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("goes on with the same authorities and the same bundle", async () => {
    await using world = new SigningWorld();
    const keys = join(folder, "same");
    world.keyManager = await openDiskKeyManager(keys);
    const first = await world.open();
    const [ids, bundle] = [activeAuthorities(first), first.bundle()];
    await first[Symbol.asyncDispose]();
    await world.keyManager[Symbol.asyncDispose]();
    world.told();
    await world.clock.advance(3_600_000);
    world.keyManager = await openDiskKeyManager(keys);
    await using second = await world.open();
    expect(activeAuthorities(second)).toEqual(ids);
    expect(second.bundle()).toEqual(bundle);
    expect(world.told()).toEqual(["x509 continued", "jwt continued"]);
  });

  it.each(["x509-CA-A", "JWT-Signer-A"])(
    "makes a new authority where the key %s is gone, and says so",
    async (slot) => {
      await using world = new SigningWorld();
      const first = await world.open();
      const before = activeAuthorities(first);
      await first[Symbol.asyncDispose]();
      world.told();
      await world.keyManager.deleteKey(slot);
      await using second = await world.open();
      const kind = slot.startsWith("x509") ? "x509" : "jwt";
      const told = world.told().filter((text) => text.startsWith(kind));
      expect(told).toEqual([`${kind} retired key-missing`, `${kind} prepared`, `${kind} activated`]);
      expect(activeAuthorities(second).filter((id) => before.includes(id))).toHaveLength(1);
      expect(states(second, kind)).toEqual([`${slot} active`, `${slot} old`]);
      // What the lost key signed stays verifiable.
      expect(second.bundle().x509Authorities.length + second.bundle().jwtAuthorities.length).toBe(3);
    },
  );

  it("never signs as an authority whose key was replaced by another", async () => {
    await using world = new SigningWorld();
    const first = await world.open();
    const before = activeAuthorities(first);
    await first[Symbol.asyncDispose]();
    await world.keyManager.generateKey("x509-CA-A", "ec-p256");
    await world.keyManager.generateKey("JWT-Signer-A", "ec-p256");
    await using second = await world.open();
    expect(activeAuthorities(second).filter((id) => before.includes(id))).toEqual([]);
  });

  it("makes new authorities where the old ones have expired meanwhile", async () => {
    await using world = new SigningWorld();
    const first = await world.open();
    const before = activeAuthorities(first);
    await first[Symbol.asyncDispose]();
    world.told();
    world.clock.step(DAY * 1000);
    await using second = await world.open();
    expect(world.told().filter((text) => text.startsWith("x509"))).toEqual([
      "x509 retired expired",
      "x509 prepared",
      "x509 activated",
    ]);
    expect(activeAuthorities(second).filter((id) => before.includes(id))).toEqual([]);
    expect(second.x509AuthorityNotAfter()).toBe(unixSeconds(world.clock) + DAY);
  });

  it("keeps a prepared authority prepared", async () => {
    await using world = new SigningWorld();
    const first = await world.open();
    const prepared = await first.prepareAuthority("jwt");
    await first[Symbol.asyncDispose]();
    await using second = await world.open();
    expect(states(second, "jwt")).toEqual(["JWT-Signer-A active", "JWT-Signer-B prepared"]);
    expect((await second.activateAuthority("jwt", prepared.id)).id).toBe(prepared.id);
  });

  it("publishes its authorities again where they are missing in the bundle", async () => {
    await using world = new SigningWorld();
    const first = await world.open();
    await first[Symbol.asyncDispose]();
    world.store.write((bundle) => ({ ...bundle, x509Authorities: [], jwtAuthorities: [] }));
    await using second = await world.open();
    expect(second.bundle().x509Authorities).toHaveLength(1);
    expect(second.bundle().jwtAuthorities).toHaveLength(1);
  });

  it("leaves other servers' authorities alone and publishes beside them", async () => {
    await using world = new SigningWorld();
    await using one = await world.open({ serverId: "one" });
    world.keyManager = openMemoryKeyManager();
    await using two = await world.open({ serverId: "two" });
    expect(activeAuthorities(two).filter((id) => activeAuthorities(one).includes(id))).toEqual([]);
    expect([...world.store.records.values()].map(({ state }) => state)).toEqual(Array(4).fill("active"));
    expect(two.bundle().x509Authorities).toHaveLength(2);
    await world.clock.advance(1);
    expect(one.bundle()).toEqual(two.bundle());
  });
});

describe("rotation by hand", () => {
  it("prepares in the free slot, publishes, and activates", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    for (const kind of ["x509", "jwt"] as const) {
      const [before] = signing.authorities().filter((record) => record.kind === kind);
      const prepared = await signing.prepareAuthority(kind);
      expect(prepared.state).toBe("prepared");
      expect(activeAuthorities(signing)).toContain(before?.id);
      expect(world.store.records.get(prepared.id)).toEqual(prepared);
      const activated = await signing.activateAuthority(kind);
      expect(activated).toMatchObject({ id: prepared.id, state: "active" });
      expect(world.store.records.get(before?.id ?? "")?.state).toBe("old");
    }
    expect(states(signing, "x509")).toEqual(["x509-CA-A old", "x509-CA-B active"]);
    expect(signing.bundle().x509Authorities).toHaveLength(2);
    expect(signing.bundle().jwtAuthorities).toHaveLength(2);
    await signing.prepareAuthority("x509");
    expect(states(signing, "x509")).toEqual(["x509-CA-A old", "x509-CA-A prepared", "x509-CA-B active"]);
  });

  it("replaces a prepared authority by the next one prepared", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const first = await signing.prepareAuthority("x509");
    const second = await signing.prepareAuthority("x509");
    expect(second.keyId).not.toBe(first.keyId);
    expect(world.store.records.get(first.id)?.state).toBe("old");
    await expect(signing.activateAuthority("x509", first.id)).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    await signing.activateAuthority("x509", second.id);
    expect(activeAuthorities(signing)).toContain(second.id);
  });

  it("activates nothing where nothing is prepared", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    await expect(signing.activateAuthority("x509")).rejects.toThrowCode("AUTHORITY_NOT_FOUND", /no x509/);
    await expect(signing.activateAuthority("jwt", "abc")).rejects.toThrowCode("AUTHORITY_NOT_FOUND", /abc/);
  });

  it("never activates an authority that could not be journaled", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const known = await signing.prepareAuthority("x509");
    world.store.commitsLeft = 0;
    await expect(signing.prepareAuthority("x509")).rejects.toThrowCode("STORE_UNAVAILABLE");
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    expect(signing.authorityStates("x509").prepared?.id).toBe(known.id);
    const next = await signing.prepareAuthority("x509");
    expect(world.store.records.get(known.id)?.state).toBe("old");
    expect((await signing.activateAuthority("x509")).id).toBe(next.id);
  });

  it("stays with the active authority where activating could not be journaled", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const before = activeAuthorities(signing);
    await signing.prepareAuthority("x509");
    world.store.commitsLeft = 0;
    await expect(signing.activateAuthority("x509")).rejects.toThrowCode("STORE_UNAVAILABLE");
    expect(activeAuthorities(signing)).toEqual(before);
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    await signing.activateAuthority("x509");
    expect(activeAuthorities(signing)).not.toEqual(before);
  });

  it("runs calls at once one after the other", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    await Promise.all(
      [1, 2, 3, 4]
        .map(() => signing.prepareAuthority("x509").then(() => signing.activateAuthority("x509")))
        .map((one) => one.catch(() => undefined)),
    );
    const x509 = signing.authorities().filter((record) => record.kind === "x509");
    expect(x509.filter((record) => record.state === "active")).toHaveLength(1);
    expect(x509.filter((record) => record.state === "prepared").length).toBeLessThanOrEqual(1);
  });
});

describe("expiry", () => {
  it("is followed by a new authority without anybody's doing, however long the program slept", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const before = activeAuthorities(signing);
    world.told();
    world.clock.step((DAY + 1) * 1000);
    await world.clock.advance(10_000);
    await settle(world, () => world.events.length >= 6);
    expect(world.told().toSorted()).toEqual(
      ["jwt", "x509"].flatMap((kind) => [`${kind} activated`, `${kind} prepared`, `${kind} retired expired`]),
    );
    expect(activeAuthorities(signing).filter((id) => before.includes(id))).toEqual([]);
    expect(signing.x509AuthorityNotAfter()).toBeGreaterThan(unixSeconds(world.clock));
  });

  it("is followed by the prepared authority where there is one", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    await world.clock.advance(3_600_000);
    const prepared = await signing.prepareAuthority("x509");
    world.clock.step((DAY - 3600) * 1000);
    await signing.keepUp();
    expect(activeAuthorities(signing)).toContain(prepared.id);
  });

  it("refuses to sign in the meantime instead of signing with an expired authority", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    world.clock.step(DAY * 1000);
    expect(() => signing.x509AuthorityNotAfter()).toThrowCode("AUTHORITY_EXPIRED");
    expect(() => signing.jwtAuthorityNotAfter()).toThrowCode("AUTHORITY_EXPIRED");
    await signing.keepUp();
    expect(signing.x509AuthorityNotAfter()).toBe(unixSeconds(world.clock) + DAY);
  });

  it("is tried again where the store fails, and the failure is told", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    world.told();
    world.store.commitsLeft = 0;
    world.clock.step(DAY * 1000);
    await world.clock.advance(0);
    await settle(world, () => world.events.length >= 1);
    // Of the X.509 line and the JWT line, each by itself.
    await settle(world, () => world.events.length >= 2);
    expect(world.told()).toEqual(["upkeep-failed STORE_UNAVAILABLE", "upkeep-failed STORE_UNAVAILABLE"]);
    world.store.commitsLeft = Number.POSITIVE_INFINITY;
    await settle(world, () => world.clock.pending > 0);
    await world.clock.advance(10_000);
    await settle(world, () => world.events.length >= 6);
    expect(signing.x509AuthorityNotAfter()).toBeGreaterThan(unixSeconds(world.clock));
  });
});

describe("the own bundle", () => {
  it("tells listeners what this server publishes, before it is used", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const seen: number[] = [];
    using _ = signing.onBundleChange((bundle) => {
      seen.push(bundle.x509Authorities.length);
      expect(signing.bundle()).toBe(bundle);
    });
    await signing.prepareAuthority("x509");
    expect(seen).toEqual([2]);
    await signing.activateAuthority("x509");
    expect(seen).toEqual([2]);
  });

  it("follows what another server writes", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const changed = new Promise((resolve) => signing.onBundleChange(resolve));
    world.store.write((bundle) => ({ ...bundle, refreshHint: 77 }));
    expect(await changed).toMatchObject({ refreshHint: 77 });
    expect(signing.bundle().refreshHint).toBe(77);
  });

  it("is read anew where the change log has been forgotten", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const changed = new Promise((resolve) => signing.onBundleChange(resolve));
    world.store.write((bundle) => ({ ...bundle, refreshHint: 78 }), true);
    world.store.forget();
    world.store.notify();
    await changed;
    expect(signing.bundle().refreshHint).toBe(78);
  });

  it("is read again after the store failed, which is told", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    world.told();
    world.store.readable = false;
    world.store.write((bundle) => ({ ...bundle, refreshHint: 79 }));
    await settle(world, () => world.events.length >= 1);
    expect(world.told()).toEqual(["bundle-unread STORE_UNAVAILABLE"]);
    expect(signing.bundle().refreshHint).toBe(0);
    const changed = new Promise((resolve) => signing.onBundleChange(resolve));
    world.store.readable = true;
    await world.clock.advance(1000);
    await changed;
    expect(signing.bundle().refreshHint).toBe(79);
  });

  it("takes authorities from outside, each once", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const { certificate, key } = foreign();
    const additions = { x509Authorities: [certificate, certificate], jwtAuthorities: [key, key] };
    const before = signing.bundle();
    const after = await signing.appendToBundle(additions);
    expect(after.x509Authorities).toHaveLength(2);
    expect(after.jwtAuthorities).toHaveLength(2);
    expect(after.sequence).toBe(before.sequence + 1n);
    expect(signing.bundle()).toEqual(after);
    expect(await signing.appendToBundle(additions)).toEqual(after);
  });

  it("refuses what is no authority", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const { certificate, key } = foreign();
    const before = signing.bundle();
    const leaf = makeCertificate({ subject: "leaf", key: makeKey() }).der;
    const held = before.jwtAuthorities[0]?.keyId ?? "";
    for (const additions of [
      { x509Authorities: [leaf], jwtAuthorities: [] },
      { x509Authorities: [certificate, Buffer.from("30", "hex")], jwtAuthorities: [] },
      { x509Authorities: [], jwtAuthorities: [{ ...key, keyId: "" }] },
      { x509Authorities: [], jwtAuthorities: [{ ...key, publicKey: Buffer.from("junk") }] },
      { x509Authorities: [certificate], jwtAuthorities: [{ ...key, keyId: held }] },
      { x509Authorities: [], jwtAuthorities: [key, { ...key, publicKey: makeKey().spki }] },
    ]) {
      await expect(signing.appendToBundle(additions)).rejects.toThrowCode("INVALID_BUNDLE");
    }
    expect(world.store.bundle).toEqual(before);
  });

  it("takes WIT authorities from outside, each once and by an id that no JWT authority has", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const { key } = foreign();
    const none = { x509Authorities: [], jwtAuthorities: [] };
    const after = await signing.appendToBundle({ ...none, witAuthorities: [key, key] });
    expect(after.witAuthorities).toHaveLength(2);
    expect(await signing.appendToBundle({ ...none, witAuthorities: [key] })).toEqual(after);
    const held = after.jwtAuthorities[0]?.keyId ?? "";
    for (const additions of [
      { ...none, witAuthorities: [{ ...key, keyId: "" }] },
      { ...none, witAuthorities: [{ ...key, publicKey: Buffer.from("junk") }] },
      { ...none, witAuthorities: [{ ...key, publicKey: makeKey().spki }] },
      { ...none, witAuthorities: [{ ...key, keyId: held }] },
      { ...none, jwtAuthorities: [key] },
      { ...none, jwtAuthorities: [{ ...key, keyId: "new" }], witAuthorities: [{ ...key, keyId: "new" }] },
    ]) {
      await expect(signing.appendToBundle(additions)).rejects.toThrowCode("INVALID_BUNDLE");
    }
    expect(world.store.bundle).toEqual(after);
  });

  it("does not untaint an authority that is added again", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    const { certificate } = foreign();
    world.store.write((bundle) => ({
      ...bundle,
      x509Authorities: [...bundle.x509Authorities, { certificate, tainted: true }],
    }));
    const after = await signing.appendToBundle({ x509Authorities: [certificate], jwtAuthorities: [] });
    expect(after.x509Authorities.map(({ tainted }) => tainted)).toEqual([false, true]);
  });

  it("is let go of when signing is disposed", async () => {
    await using world = new SigningWorld();
    const signing = await world.open();
    let called = 0;
    signing.onBundleChange(() => called++);
    await signing[Symbol.asyncDispose]();
    await signing[Symbol.asyncDispose]();
    world.store.write((bundle) => ({ ...bundle, refreshHint: 1 }));
    await world.clock.advance(60_000);
    expect(called).toBe(0);
    expect(world.store.listeners).toBe(0);
    expect(world.clock.pending).toBe(0);
  });
});

function foreign() {
  const certificate = makeCertificate({
    subject: "foreign",
    key: makeKey(),
    ca: true,
    uris: ["spiffe://example.org"],
  }).der;
  return { certificate, key: { keyId: "foreign", publicKey: makeKey().spki, expiresAt: 0, tainted: false } };
}

/** Lets work that runs on other threads (key generation) come to its end. */
async function settle(world: SigningWorld, done: () => boolean): Promise<void> {
  for (let turn = 0; !done(); turn++) {
    if (turn > 10_000) throw new Error(`nothing more happened; told so far: ${JSON.stringify(world.told())}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
