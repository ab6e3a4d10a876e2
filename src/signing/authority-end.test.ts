import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import type { AuthorityKind } from "../store/records.ts";
import type { Signing } from "./signing.ts";

const KINDS = ["x509", "jwt", "wit"] as const;

/** Names and taint marks of what the bundle holds of a kind. */
function published(signing: Signing, kind: AuthorityKind): readonly boolean[] {
  const bundle = signing.bundle();
  const lists = { x509: bundle.x509Authorities, jwt: bundle.jwtAuthorities, wit: bundle.witAuthorities };
  return lists[kind].map(({ tainted }) => tainted);
}

/** Rotates by hand and gives the id of the authority that has become old. */
async function rotated(signing: Signing, kind: AuthorityKind): Promise<string> {
  await signing.prepareAuthority(kind);
  await signing.activateAuthority(kind);
  const id = signing.authorityStates(kind).old?.id;
  if (id === undefined) throw new Error("nothing has become old");
  return id;
}

describe.each(KINDS)("the end of an authority of kind %s", (kind) => {
  it("is to be tainted, which the bundle says, and then revoked, which takes it out", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const id = await rotated(signing, kind);
    const { sequence } = signing.bundle();
    world.told();

    expect((await signing.taintAuthority(kind, id)).state).toBe("tainted");
    expect(published(signing, kind)).toEqual([true, false]);
    expect(signing.bundle().sequence).toBe(sequence + 1n);
    expect(signing.authorityStates(kind).old).toMatchObject({ id, state: "tainted" });
    expect(world.store.records.get(id)?.state).toBe("tainted");
    expect(world.store.bundle).toEqual(signing.bundle());

    expect((await signing.revokeAuthority(kind, id)).state).toBe("revoked");
    expect(published(signing, kind)).toEqual([false]);
    expect(signing.bundle().sequence).toBe(sequence + 2n);
    expect(signing.authorityStates(kind).old).toBeUndefined();
    expect(world.events.map((event) => "byOrder" in event && event.byOrder)).toEqual([true, true]);
    expect(world.told()).toEqual([`${kind} tainted`, `${kind} revoked`]);
  });

  it("destroys the private key of what is revoked, and never that of its successor", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const first = await rotated(signing, kind);
    const slot = world.store.records.get(first)?.keyId ?? "";
    await signing.taintAuthority(kind, first);
    await signing.revokeAuthority(kind, first);
    expect(await world.keyManager.getKey(slot)).toBeUndefined();

    const second = await rotated(signing, kind);
    await signing.prepareAuthority(kind);
    await signing.taintAuthority(kind, second);
    await signing.revokeAuthority(kind, second);
    const prepared = signing.authorityStates(kind).prepared;
    expect((await world.keyManager.getKey(prepared?.keyId ?? ""))?.publicKey).toEqual(prepared?.publicKey);
  });

  it("comes to old authorities only, and in this order", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const old = await rotated(signing, kind);
    await signing.prepareAuthority(kind);
    const { active, prepared } = signing.authorityStates(kind);
    const before = signing.bundle();
    for (const id of [active?.id ?? "", prepared?.id ?? ""]) {
      await expect(signing.taintAuthority(kind, id)).rejects.toThrowCode("PRECONDITION_FAILED", /is old/);
      await expect(signing.revokeAuthority(kind, id)).rejects.toThrowCode("PRECONDITION_FAILED");
    }
    await expect(signing.revokeAuthority(kind, old)).rejects.toThrowCode("PRECONDITION_FAILED", /is tainted/);
    await expect(signing.taintAuthority(kind, "nobody")).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    await expect(signing.revokeAuthority(kind, "nobody")).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
    expect(signing.bundle()).toEqual(before);

    await signing.taintAuthority(kind, old);
    await expect(signing.taintAuthority(kind, old)).rejects.toThrowCode("PRECONDITION_FAILED", /is tainted/);
    await signing.revokeAuthority(kind, old);
    await expect(signing.revokeAuthority(kind, old)).rejects.toThrowCode("PRECONDITION_FAILED", /is revoked/);
  });

  it("is remembered over a restart, and forgotten with the authority", async () => {
    await using world = new SigningWorld();
    const first = await world.open({ wit: true });
    const revoked = await rotated(first, kind);
    await first.taintAuthority(kind, revoked);
    await first.revokeAuthority(kind, revoked);
    const tainted = await rotated(first, kind);
    await first.taintAuthority(kind, tainted);
    await first[Symbol.asyncDispose]();

    await using second = await world.open({ wit: true });
    expect(published(second, kind)).toEqual([true, false]);
    expect(world.store.records.get(revoked)?.state).toBe("revoked");
    await second.revokeAuthority(kind, tainted);
    expect(published(second, kind)).toEqual([false]);
    await world.passWithUpkeep(second, 3 * 86_400);
    expect(world.store.records.has(revoked)).toBe(false);
    expect(world.store.records.has(tainted)).toBe(false);
  });

  it("comes though its key cannot be destroyed, and the key goes when it is asked for again", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const id = await rotated(signing, kind);
    const { keyId = "" } = world.store.records.get(id) ?? {};
    await signing.taintAuthority(kind, id);
    const { keyManager } = world;
    const deleteKey = keyManager.deleteKey.bind(keyManager);
    keyManager.deleteKey = () => Promise.reject(new AssayError("KEY_UNAVAILABLE", "no answer"));
    await expect(signing.revokeAuthority(kind, id)).rejects.toThrowCode("KEY_UNAVAILABLE");
    expect(published(signing, kind)).toEqual([false]);
    expect(await keyManager.getKey(keyId)).toBeDefined();
    keyManager.deleteKey = deleteKey;
    expect((await signing.revokeAuthority(kind, id)).state).toBe("revoked");
    expect(await keyManager.getKey(keyId)).toBeUndefined();
  });

  it("did not come where it could not be written down", async () => {
    await using world = new SigningWorld();
    await using signing = await world.open({ wit: true });
    const id = await rotated(signing, kind);
    world.store.commitsLeft = 0;
    await expect(signing.taintAuthority(kind, id)).rejects.toThrowCode("STORE_UNAVAILABLE");
    expect(published(signing, kind)).toEqual([false, false]);
    world.store.commitsLeft = 1;
    await signing.taintAuthority(kind, id);
    await expect(signing.revokeAuthority(kind, id)).rejects.toThrowCode("STORE_UNAVAILABLE");
    expect(published(signing, kind)).toEqual([true, false]);
    world.store.commitsLeft = 1;
    await signing.revokeAuthority(kind, id);
    expect(published(signing, kind)).toEqual([false]);
  });
});

it("an id counts among the authorities of its own kind", async () => {
  await using world = new SigningWorld();
  await using signing = await world.open();
  const jwt = await rotated(signing, "jwt");
  await expect(signing.taintAuthority("x509", jwt)).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
});
