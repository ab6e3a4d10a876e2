import { createPublicKey, verify } from "node:crypto";
import { inspect } from "node:util";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KeyManager, KeyType, ManagedKey, SignatureForm } from "../../src/plugin/key-manager.ts";

/** What the suite must know of a key manager to ask for no more than it promises. */
export interface KeyManagerTraits {
  /** Key types it can make; all four unless told. Every other type must be refused. */
  readonly keyTypes?: readonly KeyType[];
  /** Keys that were made in a place are there when the place is opened again; not so unless told. */
  readonly durable?: boolean;
  /**
   * What one manager sees of the keys that another makes in the same place meanwhile: nothing until it is opened anew
   * (`opening`, unless told), or all of them (`live`). Only of durable ones.
   */
  readonly sharing?: "opening" | "live";
  /** Signatures per property; 20 unless told. A slow service earns fewer. */
  readonly runs?: number;
  /** Milliseconds a test may take; vitest's own bound unless told. */
  readonly patience?: number;
}

/**
 * What every key manager must do, local or remote. `open` opens the place of this name, which is empty the first time: a
 * folder, a token's label, a prefix of key names.
 */
export function keyManagerSuite(
  name: string,
  open: (place: string) => Promise<KeyManager>,
  traits: KeyManagerTraits = {},
): void {
  const keyTypes = traits.keyTypes ?? KEY_TYPES;
  const ecTypes = keyTypes.filter((type) => type === "ec-p256" || type === "ec-p384");
  const quick = keyTypes.filter((type) => type !== "rsa-4096");
  const other = ecTypes[1] ?? keyTypes[0] ?? "ec-p256";
  const within = traits.patience === undefined ? {} : { timeout: traits.patience };

  describe(`key manager contract: ${name}`, within, () => {
    const opened: KeyManager[] = [];
    let place = "";
    // Nothing is skipped where nothing was promised.
    const itIfDurable: typeof it | (() => void) = traits.durable === true ? it : () => undefined;
    const manager = async () => {
      const keys = await open(place);
      opened.push(keys);
      return keys;
    };
    beforeEach(() => {
      place = `contract-${places++}`;
    });
    afterEach(async () => {
      for (const keys of opened.splice(0)) await keys[Symbol.asyncDispose]();
    });

    it("begins without keys", async () => {
      const keys = await manager();
      expect(await keys.listKeys()).toEqual([]);
      expect(await keys.getKey("a")).toBeUndefined();
    });

    it.each(keyTypes)("generates a key of type %s that says so in its public key and signs", async (type) => {
      const key = await (await manager()).generateKey("a", type);
      expect(key).toMatchObject({ id: "a", type });
      expect(kindOf(key)).toBe(type);
      expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
    });

    it.each(quick.flatMap((type) => [[type, "der"] as const, [type, "p1363"] as const]))(
      "signs with %s in the form %s so that the public key verifies it",
      async (type, form) => {
        const key = await (await manager()).generateKey("a", type);
        await fc.assert(
          fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (data) => {
            const signature = await key.sign(data, form);
            expect(isValid(key, data, signature, form)).toBe(true);
            expect(isValid(key, Buffer.concat([data, Buffer.of(0)]), signature, form)).toBe(false);
          }),
          { numRuns: traits.runs ?? 20 },
        );
      },
    );

    it.each(ecTypes)("gives signatures of %s of fixed length in the form p1363", async (type) => {
      const key = await (await manager()).generateKey("a", type);
      for (let i = 0; i < 2 * (traits.runs ?? 20); i++) {
        expect((await key.sign(Buffer.of(i), "p1363")).length).toBe(type === "ec-p256" ? 64 : 96);
      }
    });

    it.each(quick)("signs nothing at all and a mebibyte with %s", async (type) => {
      const key = await (await manager()).generateKey("a", type);
      for (const data of [Buffer.alloc(0), Buffer.alloc(1_048_576, 0x5a)]) {
        expect(isValid(key, data, await key.sign(data, "der"), "der")).toBe(true);
      }
    });

    it("signs the bytes as they were when it was asked", async () => {
      const key = await (await manager()).generateKey("a", "ec-p256");
      const data = Buffer.from("before");
      const signing = key.sign(data, "der");
      data.write("after!");
      expect(isValid(key, Buffer.from("before"), await signing, "der")).toBe(true);
    });

    it("signs with many keys at once and mixes none up", async () => {
      const keys = await manager();
      const made = await Promise.all(["a", "b", "c"].map((id) => keys.generateKey(id, "ec-p256")));
      const jobs = Array.from({ length: 60 }, (_, n) => ({
        key: made[n % 3]!,
        data: Buffer.from(`data ${n}`),
      }));
      const signatures = await Promise.all(jobs.map(async ({ key, data }) => key.sign(data, "p1363")));
      for (const [n, { key, data }] of jobs.entries()) {
        expect(isValid(key, data, signatures[n]!, "p1363")).toBe(true);
      }
    });

    it("signs on with one key while others are made and deleted", async () => {
      const keys = await manager();
      const key = await keys.generateKey("a", "ec-p256");
      const others = Promise.all([
        keys.generateKey("b", other),
        keys.generateKey("b", "ec-p256"),
        keys.deleteKey("b"),
        keys.generateKey("c", "ec-p256"),
      ]);
      for (let n = 0; n < 20; n++) {
        expect(isValid(key, Buffer.of(n), await key.sign(Buffer.of(n), "der"), "der")).toBe(true);
      }
      await others;
      expect((await keys.listKeys()).map(({ id }) => id).toSorted()).toEqual(["a", "c"]);
    });

    it("finds the keys it made by id", async () => {
      const keys = await manager();
      const a = await keys.generateKey("a", "ec-p256");
      const b = await keys.generateKey("b", other);
      expect((await keys.getKey("a"))?.publicKey).toEqual(a.publicKey);
      expect((await keys.getKey("b"))?.publicKey).toEqual(b.publicKey);
      expect((await keys.listKeys()).map((key) => key.id).toSorted()).toEqual(["a", "b"]);
    });

    it("replaces a key of the same id", async () => {
      const keys = await manager();
      const before = await keys.generateKey("a", "ec-p256");
      const after = await keys.generateKey("a", other);
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

    it.each([
      "ed25519" as KeyType,
      "ec-p521" as KeyType,
      "constructor" as KeyType,
      ...KEY_TYPES.filter((type) => !keyTypes.includes(type)),
    ])("refuses the key type %s and keeps the key that is there", async (type) => {
      const keys = await manager();
      await expect(keys.generateKey("a", type)).rejects.toThrowCode("KEY_UNAVAILABLE", new RegExp(type));
      expect(await keys.getKey("a")).toBeUndefined();
      const before = await keys.generateKey("a", "ec-p256");
      await expect(keys.generateKey("a", type)).rejects.toThrowCode("KEY_UNAVAILABLE", new RegExp(type));
      expect((await keys.getKey("a"))?.publicKey).toEqual(before.publicKey);
      expect(isValid(before, DATA, await before.sign(DATA, "der"), "der")).toBe(true);
    });

    it("knows no key of an id that it would refuse, and of those that every object has", async () => {
      const keys = await manager();
      for (const id of ["../a", "", "__proto__", "constructor", "x".repeat(129)]) {
        expect(await keys.getKey(id)).toBeUndefined();
        await keys.deleteKey(id);
      }
    });

    it("takes every id that the servers use, and the longest one", async () => {
      const keys = await manager();
      const ids = ["x509-CA-A", "JWT-Signer-B", "JWT-RS256-Signer-A", "under_score", "x".repeat(128)];
      for (const id of ids) expect((await keys.generateKey(id, "ec-p256")).id).toBe(id);
      expect((await keys.listKeys()).map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    });

    itIfDurable("holds the same keys when its place is opened again", async () => {
      const before = await manager();
      const made = [];
      for (const type of quick) made.push(await before.generateKey(type, type));
      await before.generateKey("gone", "ec-p256");
      await before.generateKey("replaced", "ec-p256");
      const replaced = await before.generateKey("replaced", other);
      await before.deleteKey("gone");
      await before[Symbol.asyncDispose]();

      const after = await manager();
      expect((await after.listKeys()).map(({ id }) => id).toSorted()).toEqual(
        [...quick, "replaced"].toSorted(),
      );
      expect((await after.getKey("replaced"))?.publicKey).toEqual(replaced.publicKey);
      for (const { id, type, publicKey } of made) {
        const key = (await after.getKey(id)) as ManagedKey;
        expect(key).toMatchObject({ id, type });
        expect(Buffer.from(key.publicKey)).toEqual(Buffer.from(publicKey));
        expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
      }
    });

    itIfDurable(
      `shows another manager of the same place its keys ${traits.sharing === "live" ? "at once" : "when that is opened"}`,
      async () => {
        const first = await manager();
        const second = await manager();
        // One that asks its service late has opened when it was first asked.
        expect(await second.listKeys()).toEqual([]);
        const made = await first.generateKey("a", "ec-p256");
        const seen = await second.getKey("a");
        if (traits.sharing === "live") expect(seen?.publicKey).toEqual(made.publicKey);
        else expect(seen).toBeUndefined();
        const third = await manager();
        expect((await third.getKey("a"))?.publicKey).toEqual(made.publicKey);
      },
    );

    it("shares no key with a manager of another place", async () => {
      await (await manager()).generateKey("a", "ec-p256");
      place = `${place}-other`;
      const keys = await manager();
      expect(await keys.listKeys()).toEqual([]);
      await keys.deleteKey("a");
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

    it("ends what is under way when it is disposed: done or KEY_UNAVAILABLE, never left open", async () => {
      const keys = await manager();
      const key = await keys.generateKey("a", "ec-p256");
      const underWay = [
        ...Array.from({ length: 10 }, async () => key.sign(DATA, "der")),
        keys.generateKey("b", "ec-p256"),
      ];
      const settled = Promise.allSettled(underWay);
      await keys[Symbol.asyncDispose]();
      for (const one of await settled) {
        if (one.status === "fulfilled") continue;
        expect(() => {
          throw one.reason as Error;
        }).toThrowCode("KEY_UNAVAILABLE");
      }
    });

    it("offers no way to the private key", async () => {
      const keys = await manager();
      const key = await keys.generateKey("a", "ec-p256");
      const whole = inspect([keys, key], { depth: 12, showHidden: true, maxArrayLength: 10_000 });
      const shown = JSON.stringify(key) + Object.values(key).map(String).join() + whole;
      expect(shown).not.toMatch(/PRIVATE KEY|"d":|type: 'private'/);
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

let places = 0;
const KEY_TYPES: readonly KeyType[] = ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"];
const DATA = Buffer.from("data");
