import { describe, expect, it, onTestFinished } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import type { Signing } from "./signing.ts";

describe("the key of an active authority", () => {
  it("that vanished is missed within a minute: another authority signs, and why is told", async () => {
    const { world, signing } = await place();
    const { active } = signing.authorityStates("x509");
    await world.keyManager.deleteKey(active?.keyId ?? "");
    await world.clock.advance(60_000);
    await until(() => signing.authorityStates("x509").active?.id !== active?.id);
    expect(world.told()).toEqual(["x509 retired key-missing", "x509 prepared", "x509 activated"]);
    expect(signing.authorityStates("x509").active).toBeDefined();
  });

  it("that another key stands for is missed too", async () => {
    const { world, signing } = await place();
    const { active } = signing.authorityStates("jwt");
    await world.keyManager.generateKey(active?.keyId ?? "", "ec-p256");
    await world.clock.advance(60_000);
    await until(() => signing.authorityStates("jwt").active?.id !== active?.id);
    expect(world.told()).toContain("jwt retired key-missing");
  });

  it("that is gone has the prepared authority sign at once, which everybody knows already", async () => {
    const { world, signing } = await place();
    const { active } = signing.authorityStates("x509");
    const prepared = await signing.prepareAuthority("x509");
    await world.keyManager.deleteKey(active?.keyId ?? "");
    await world.clock.advance(60_000);
    await until(() => signing.authorityStates("x509").active?.id === prepared.id);
  });

  it("of a prepared authority that vanished is not activated", async () => {
    const { world, signing } = await place();
    const prepared = await signing.prepareAuthority("x509");
    await world.keyManager.deleteKey(prepared.keyId);
    await world.clock.advance(60_000);
    await until(() => signing.authorityStates("x509").prepared?.id !== prepared.id);
    await expect(signing.activateAuthority("x509", prepared.id)).rejects.toThrowCode("AUTHORITY_NOT_FOUND");
  });

  it("that cannot be asked for stays, however long that takes, and it is told", async () => {
    const { world, signing } = await place();
    const before = signing.authorities();
    const { getKey } = world.keyManager;
    world.keyManager.getKey = async () => {
      throw new AssayError("KEY_UNAVAILABLE", "no answer");
    };
    await world.clock.advance(3_600_000);
    expect(signing.authorities()).toEqual(before);
    expect(world.told()).toContain("upkeep-failed KEY_UNAVAILABLE");
    world.keyManager.getKey = getKey;
    await world.clock.advance(60_000);
    expect(signing.authorities()).toEqual(before);
  });
});

async function place(): Promise<{ readonly world: SigningWorld; readonly signing: Signing }> {
  const world = new SigningWorld();
  const signing = await world.open();
  onTestFinished(async () => {
    await signing[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });
  world.told();
  return { world, signing };
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    if (holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(holds()).toBe(true);
}
