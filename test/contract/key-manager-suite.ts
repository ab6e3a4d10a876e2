import { createPublicKey, verify } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import type { KeyManager, KeyType, ManagedKey, SignatureForm } from "../../src/plugin/key-manager.ts";

/** What every key manager must do. `open` gives a new, empty manager. */
export function keyManagerSuite(name: string, open: () => Promise<KeyManager>): void {
  describe(`key manager contract: ${name}`, () => {
    const opened: KeyManager[] = [];
    const manager = async () => {
      const keys = await open();
      opened.push(keys);
      return keys;
    };
    afterEach(async () => {
      for (const keys of opened.splice(0)) await keys[Symbol.asyncDispose]();
    });

    it("begins without keys", async () => {
      const keys = await manager();
      expect(await keys.listKeys()).toEqual([]);
      expect(await keys.getKey("a")).toBeUndefined();
    });

    it.each(KEY_TYPES)("generates a key of type %s that says so in its public key", async (type) => {
      const key = await (await manager()).generateKey("a", type);
      expect(key).toMatchObject({ id: "a", type });
      expect(kindOf(key)).toBe(type);
    });

    it.each([
      ["ec-p256", "der"],
      ["ec-p256", "p1363"],
      ["ec-p384", "der"],
      ["ec-p384", "p1363"],
      ["rsa-2048", "der"],
      ["rsa-2048", "p1363"],
    ] as const)("signs with %s in the form %s so that the public key verifies it", async (type, form) => {
      const key = await (await manager()).generateKey("a", type);
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (data) => {
          const signature = await key.sign(data, form);
          expect(isValid(key, data, signature, form)).toBe(true);
          expect(isValid(key, Buffer.concat([data, Buffer.of(0)]), signature, form)).toBe(false);
        }),
        { numRuns: 20 },
      );
    });

    it("gives ECDSA signatures of fixed length in the form p1363", async () => {
      const keys = await manager();
      const small = await keys.generateKey("a", "ec-p256");
      const large = await keys.generateKey("b", "ec-p384");
      for (let i = 0; i < 50; i++) {
        expect((await small.sign(Buffer.of(i), "p1363")).length).toBe(64);
        expect((await large.sign(Buffer.of(i), "p1363")).length).toBe(96);
      }
    });

    it("finds the keys it made by id", async () => {
      const keys = await manager();
      const a = await keys.generateKey("a", "ec-p256");
      const b = await keys.generateKey("b", "ec-p384");
      expect((await keys.getKey("a"))?.publicKey).toEqual(a.publicKey);
      expect((await keys.getKey("b"))?.publicKey).toEqual(b.publicKey);
      expect((await keys.listKeys()).map((key) => key.id).toSorted()).toEqual(["a", "b"]);
    });

    it("replaces a key of the same id", async () => {
      const keys = await manager();
      const before = await keys.generateKey("a", "ec-p256");
      const after = await keys.generateKey("a", "ec-p384");
      expect(after.publicKey).not.toEqual(before.publicKey);
      expect((await keys.getKey("a"))?.publicKey).toEqual(after.publicKey);
      expect(await keys.listKeys()).toHaveLength(1);
    });

    it("never signs with a key that was replaced or deleted", async () => {
      const keys = await manager();
      const replaced = await keys.generateKey("a", "ec-p256");
      const deleted = await keys.generateKey("a", "ec-p256");
      await keys.deleteKey("a");
      for (const key of [replaced, deleted]) {
        await expect((async () => key.sign(Buffer.of(1), "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
      }
    });

    it("deletes a key, and deletes nothing without complaint", async () => {
      const keys = await manager();
      await keys.generateKey("a", "ec-p256");
      await keys.generateKey("b", "ec-p256");
      await keys.deleteKey("a");
      await keys.deleteKey("a");
      await keys.deleteKey("never-there");
      expect(await keys.getKey("a")).toBeUndefined();
      expect((await keys.listKeys()).map((key) => key.id)).toEqual(["b"]);
    });

    it("leaves one whole key where many are generated under one id at once", async () => {
      const keys = await manager();
      const made = await Promise.all(Array.from({ length: 10 }, () => keys.generateKey("a", "ec-p256")));
      const held = await keys.getKey("a");
      expect(
        made.filter((key) => Buffer.from(key.publicKey).equals(held?.publicKey as Uint8Array)),
      ).toHaveLength(1);
      expect(isValid(held as ManagedKey, DATA, await (held as ManagedKey).sign(DATA, "der"), "der")).toBe(
        true,
      );
    });

    it("makes a different key each time", async () => {
      const keys = await manager();
      const made = await Promise.all([1, 2, 3, 4].map((n) => keys.generateKey(`k${n}`, "ec-p256")));
      expect(new Set(made.map((key) => Buffer.from(key.publicKey).toString("hex"))).size).toBe(4);
    });

    it.each(["", "a/b", "../a", "a b", "é", "a\0", ".", "x".repeat(129)])(
      "refuses the key id %j",
      async (id) => {
        await expect((await manager()).generateKey(id, "ec-p256")).rejects.toThrowCode(
          "KEY_UNAVAILABLE",
          /key id/,
        );
      },
    );

    it("refuses a key type it does not know", async () => {
      const keys = await manager();
      await expect(keys.generateKey("a", "ed25519" as KeyType)).rejects.toThrowCode(
        "KEY_UNAVAILABLE",
        /ed25519/,
      );
      expect(await keys.getKey("a")).toBeUndefined();
    });

    it("can be disposed twice and does nothing afterwards", async () => {
      const keys = await manager();
      const key = await keys.generateKey("a", "ec-p256");
      await keys[Symbol.asyncDispose]();
      await keys[Symbol.asyncDispose]();
      await expect(keys.generateKey("b", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
      await expect(keys.getKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE");
      await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE");
      await expect(keys.deleteKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE");
      await expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
    });

    it("offers no way to the private key", async () => {
      const key = await (await manager()).generateKey("a", "ec-p256");
      const shown = JSON.stringify(key) + Object.values(key).map(String).join();
      expect(shown).not.toMatch(/PRIVATE|"d":/);
      for (const value of Object.values(key)) expect(String(value)).not.toBe("[object KeyObject]");
    });
  });
}

/** Whether the signature is valid under the key's public half. */
export function isValid(
  key: ManagedKey,
  data: Uint8Array,
  signature: Uint8Array,
  form: SignatureForm,
): boolean {
  const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: "der", type: "spki" });
  const dsaEncoding = form === "der" ? "der" : "ieee-p1363";
  return verify(
    key.type === "ec-p384" ? "sha384" : "sha256",
    data,
    { key: publicKey, dsaEncoding },
    signature,
  );
}

function kindOf(key: ManagedKey): string {
  const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: "der", type: "spki" });
  const details = publicKey.asymmetricKeyDetails;
  if (publicKey.asymmetricKeyType === "rsa") return `rsa-${details?.modulusLength ?? 0}`;
  return details?.namedCurve === "prime256v1"
    ? "ec-p256"
    : details?.namedCurve === "secp384r1"
      ? "ec-p384"
      : "?";
}

const KEY_TYPES: readonly KeyType[] = ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"];
const DATA = Buffer.from("data");
