import { decodeProtectedHeader } from "jose";
import { describe, expect, it } from "vitest";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { generateEcKeyPair } from "../crypto/keys.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { Signing } from "./signing.ts";

const DAY = 86_400;
const web = parseSpiffeId("spiffe://example.org/web");

async function tokenHeader(signing: Signing, algorithm?: "RS256") {
  const { token } = await signing.signJwtSvid(
    signing.prepareJwtSvid({
      spiffeId: web,
      audiences: parseAudiences(["cloud"]),
      ttl: 300,
      includeJti: false,
      ...(algorithm === undefined ? {} : { algorithm }),
    }),
  );
  return decodeProtectedHeader(token);
}

const slots = (signing: Signing) =>
  signing
    .authorities()
    .filter(({ kind }) => kind === "jwt")
    .map(({ keyId, state }) => `${keyId} ${state}`)
    .toSorted();

const keyIds = (signing: Signing) => signing.bundle().jwtAuthorities.map(({ keyId }) => keyId);

describe("the RS256 line", () => {
  it("is there when asked for, published beside the other, and signs what is ordered so", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ rs256: true });
    expect(slots(signing)).toEqual(["JWT-RS256-Signer-A active", "JWT-Signer-A active"]);
    const plain = await tokenHeader(signing);
    const rs256 = await tokenHeader(signing, "RS256");
    expect(plain).toMatchObject({ alg: "ES256" });
    expect(rs256).toMatchObject({ alg: "RS256", typ: "JWT" });
    expect(keyIds(signing)).toEqual([plain.kid, rs256.kid]);
    expect(signing.authorityStates("jwt").active?.id).toBe(plain.kid);
  });

  it("is not there unless asked for, nor beside a JWT authority that signs RS256 itself", async () => {
    await using world = new SigningWorld();
    await using without = await world.open();
    expect(slots(without)).toEqual(["JWT-Signer-A active"]);
    await using other = new SigningWorld();
    await using rsa = await other.open({ rs256: true, jwtKeyType: "rsa-2048" });
    expect(slots(rsa)).toEqual(["JWT-Signer-A active"]);
    expect(await tokenHeader(rsa, "RS256")).toMatchObject({ alg: "RS256" });
  });

  it("goes on after a restart, each line with its own keys", async () => {
    await using world = new SigningWorld();
    const first = await world.open({ rs256: true });
    const before = keyIds(first);
    await first[Symbol.asyncDispose]();
    await using second = await world.open({ rs256: true });
    expect(keyIds(second)).toEqual(before);
    expect((await tokenHeader(second, "RS256")).kid).toBe(before[1]);
    expect((await tokenHeader(second)).kid).toBe(before[0]);
  });

  it("is rotated with the other by hand, and by itself", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ rs256: true });
    const prepared = await signing.prepareAuthority("jwt");
    expect(prepared.keyId).toBe("JWT-Signer-B");
    expect(slots(signing)).toContain("JWT-RS256-Signer-B prepared");
    await expect(signing.activateAuthority("jwt", "another")).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    expect(slots(signing)).toContain("JWT-RS256-Signer-B prepared");
    await signing.activateAuthority("jwt", prepared.id);
    expect(slots(signing)).toEqual([
      "JWT-RS256-Signer-A old",
      "JWT-RS256-Signer-B active",
      "JWT-Signer-A old",
      "JWT-Signer-B active",
    ]);
    const old = signing.authorities().find(({ keyId }) => keyId === "JWT-RS256-Signer-A")?.id ?? "";
    await signing.taintAuthority("jwt", old);
    await signing.revokeAuthority("jwt", old);
    expect(keyIds(signing)).not.toContain(old);

    world.clock.step(DAY * 1000);
    await signing.keepUp();
    expect(slots(signing).filter((slot) => slot.endsWith(" active"))).toHaveLength(2);
    expect(await tokenHeader(signing, "RS256")).toMatchObject({ alg: "RS256" });
  });

  it("stays in the bundle when it is switched off, until its tokens have ended", async () => {
    await using world = new SigningWorld();
    const first = await world.open({ rs256: true });
    const { kid = "" } = await tokenHeader(first, "RS256");
    await first[Symbol.asyncDispose]();
    world.told();
    await using second = await world.open();
    expect(world.told()).toContain("jwt retired switched-off");
    expect(keyIds(second)).toContain(kid);
    expect((await tokenHeader(second, "RS256")).alg).toBe("ES256");
    expect(second.authorityStates("jwt").old).toBeUndefined();
    await world.passWithUpkeep(second, 2 * DAY + 1);
    expect(keyIds(second)).not.toContain(kid);
  });

  it("can be tainted and revoked when it is switched off", async () => {
    await using world = new SigningWorld();
    const first = await world.open({ rs256: true });
    const { kid = "" } = await tokenHeader(first, "RS256");
    await first[Symbol.asyncDispose]();
    await using second = await world.open();
    await second.taintAuthority("jwt", kid);
    await second.revokeAuthority("jwt", kid);
    expect(keyIds(second)).not.toContain(kid);
  });
});

describe("the WIT line", () => {
  const order = {
    spiffeId: web,
    publicKey: generateEcKeyPair("ec-p256").spki,
    keyAlgorithm: "ES256",
    ttl: 60,
  } as const;

  it("is there when switched on, and signs WIT-SVIDs that say what was ordered", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const [key] = signing.bundle().witAuthorities;
    expect(signing.bundle().witAuthorities).toHaveLength(1);
    expect(key?.expiresAt).toBe(signing.witAuthorityNotAfter());
    const prepared = signing.prepareWitSvid(order);
    const issued = await signing.signWitSvid(prepared);
    expect(decodeProtectedHeader(issued.token)).toEqual({ alg: "ES256", kid: key?.keyId, typ: "wit+jwt" });
    expect(issued).toMatchObject({ spiffeId: web, keyId: key?.keyId });
    expect(issued.expiresAt - issued.issuedAt).toBe(60);
    await expect(signing.signWitSvid(prepared)).rejects.toThrowCode("INTERNAL");
    await expect(signing.signWitSvid({ ...signing.prepareWitSvid(order) })).rejects.toThrowCode("INTERNAL");
  });

  it("gives every token a jti of its own, and none a life longer than its key's", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const made = Array.from({ length: 500 }, () => signing.prepareWitSvid({ ...order, ttl: 10 * DAY }));
    expect(new Set(made.map(({ jti }) => jti)).size).toBe(500);
    expect(new Set(made.map(({ expiresAt }) => expiresAt))).toEqual(
      new Set([signing.witAuthorityNotAfter()]),
    );
  });

  it("refuses orders that no decision could have allowed", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    for (const change of [
      { spiffeId: parseSpiffeId("spiffe://other.org/web") },
      { spiffeId: parseSpiffeId("spiffe://example.org") },
      { ttl: 0 },
      { ttl: Number.NaN },
      { keyAlgorithm: "ES384" as const },
    ]) {
      expect(() => signing.prepareWitSvid({ ...order, ...change })).toThrowCode("CERTIFICATE_LINT_FAILED");
    }
  });

  it("is Unimplemented where it is switched off", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open();
    expect(() => signing.prepareWitSvid(order)).toThrowCode("UNIMPLEMENTED");
    expect(() => signing.witAuthorityNotAfter()).toThrowCode("UNIMPLEMENTED");
    expect(() => signing.authorityStates("wit")).toThrowCode("UNIMPLEMENTED");
    await expect(signing.prepareAuthority("wit")).rejects.toThrowCode("UNIMPLEMENTED");
    await expect(signing.activateAuthority("wit")).rejects.toThrowCode("UNIMPLEMENTED");
    await expect(signing.taintAuthority("wit", "x")).rejects.toThrowCode("UNIMPLEMENTED");
    await expect(signing.revokeAuthority("wit", "x")).rejects.toThrowCode("UNIMPLEMENTED");
    expect(signing.bundle().witAuthorities).toEqual([]);
  });

  it("leaves the bundle, the journal and the key manager when it is switched off", async () => {
    await using world = new SigningWorld();
    const first = await world.open({ wit: true });
    await first.prepareAuthority("wit");
    await first[Symbol.asyncDispose]();
    world.told();
    await using second = await world.open();
    expect(second.bundle().witAuthorities).toEqual([]);
    expect(world.store.bundle.witAuthorities).toEqual([]);
    expect(world.told().filter((text) => text.startsWith("wit"))).toEqual(
      Array.from({ length: 2 }, () => "wit retired switched-off"),
    );
    expect([...world.store.records.values()].some(({ kind }) => kind === "wit")).toBe(false);
    expect((await world.keyManager.listKeys()).some(({ id }) => id.startsWith("WIT"))).toBe(false);
  });

  it("has key ids that no other key of the bundle has", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true, rs256: true });
    for (const kind of ["jwt", "wit"] as const) await signing.prepareAuthority(kind);
    const { jwtAuthorities, witAuthorities } = signing.bundle();
    const ids = [...jwtAuthorities, ...witAuthorities].map(({ keyId }) => keyId);
    expect(ids).toHaveLength(6);
    expect(new Set(ids).size).toBe(6);
    const [wit] = witAuthorities;
    const publicKey = generateEcKeyPair("ec-p256").spki;
    await expect(
      signing.appendToBundle({
        x509Authorities: [],
        jwtAuthorities: [{ keyId: wit?.keyId ?? "", publicKey, expiresAt: 0, tainted: false }],
      }),
    ).rejects.toThrowCode("INVALID_BUNDLE", /key id of another key/);
  });
});
