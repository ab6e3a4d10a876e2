import { createHash } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { isValid } from "../../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeCryptoki } from "../../../test/fakes/pkcs11.ts";
import { CK } from "./cryptoki.ts";
import { KnownKeys } from "./known-keys.ts";
import { type OpenToken, openToken } from "./open-token.ts";
import { type TokenKey, tokenKeys } from "./token-keys.ts";

const DATA = Buffer.from("data");
const DIGEST = createHash("sha256").update(DATA).digest();
let library: FakeCryptoki;
let token: OpenToken;
let keys: ReturnType<typeof reopen>;
/** What one server knows, whatever becomes of the process that holds the library. */
let known: KnownKeys;
let clock: FakeClock;

/** The same token under a library that was started anew. */
function reopen(prefix = "p", by = known) {
  library = new FakeCryptoki(library.objects);
  token = openToken(library, { label: "token one" }, "1234");
  return keysOf(token, prefix, by);
}

function keysOf(of: OpenToken, prefix = "p", by = known) {
  const held = tokenKeys(of, prefix, clock);
  return {
    ...held,
    list: async () => by.note(await held.list()),
    generate: (id: string, type: TokenKey["type"]) => by.making((order) => held.generate(id, type, order)),
  };
}

beforeEach(() => {
  clock = new FakeClock();
  known = new KnownKeys();
  library = new FakeCryptoki();
  keys = reopen();
});

const verifies = async (key: TokenKey) =>
  isValid({ ...key, sign: () => DATA }, DATA, await keys.sign(key, DIGEST), "der");

describe("a new key", () => {
  it("is kept in the token, beyond reading, and for signing alone", async () => {
    await keys.generate("a", "ec-p256");
    const [hidden] = [...library.objects.values()].filter(
      (attributes) => attributes.get(CK.CKA_CLASS)?.readBigUInt64LE() === BigInt(CK.CKO_PRIVATE_KEY),
    );
    const yes = [CK.CKA_TOKEN, CK.CKA_PRIVATE, CK.CKA_SENSITIVE, CK.CKA_SIGN];
    for (const type of yes) expect(hidden?.get(type)).toEqual(Buffer.of(1));
    for (const type of [CK.CKA_EXTRACTABLE, CK.CKA_DERIVE]) expect(hidden?.get(type)).toEqual(Buffer.of(0));
    expect(library.labels("private")).toEqual(["p/a"]);
    expect(library.labels("public")).toEqual(["p/a"]);
  });

  it.each(["ec-p256", "ec-p384", "rsa-2048"] as const)(
    "of type %s signs what its public key verifies",
    async (type) => {
      const key = await keys.generate("a", type);
      const digest = createHash(type === "ec-p384" ? "sha384" : "sha256")
        .update(DATA)
        .digest();
      expect(isValid({ ...key, sign: () => DATA }, DATA, await keys.sign(key, digest), "der")).toBe(true);
    },
  );

  it.each([
    ["that could be read", CK.CKA_EXTRACTABLE, Buffer.of(1), /read out/],
    ["that is not sensitive", CK.CKA_SENSITIVE, Buffer.of(0), /read out/],
    ["that is gone with the session", CK.CKA_TOKEN, Buffer.of(0), /does not stay/],
    ["with another label", CK.CKA_LABEL, Buffer.from("other"), /label and the id/],
    ["with an id cut short", CK.CKA_ID, Buffer.of(1, 2), /label and the id/],
  ])("%s is destroyed and the old one signs on", async (_, type, value, detail) => {
    const before = await keys.generate("a", "ec-p256");
    library.afterGenerate = (attributes) => void attributes.set(type, value);
    await expect(keys.generate("a", "ec-p256")).rejects.toMatchObject({ kind: "refused" });
    await expect(keys.generate("a", "ec-p256")).rejects.toThrow(detail);
    expect(library.objects.size).toBe(2);
    expect(await verifies(before)).toBe(true);
  });

  it("is newer than the one before it though the clock was set back", async () => {
    await keys.generate("a", "ec-p256");
    clock.step(-86_400_000);
    library.failures.set("C_DestroyObject", ["CKR_DEVICE_ERROR"]);
    const second = await keys.generate("a", "ec-p256");
    expect(library.labels("private")).toHaveLength(2);
    expect(await reopen().list()).toEqual([second]);
  });

  it("takes the place of the old one only when it is there", async () => {
    const before = await keys.generate("a", "ec-p256");
    library.failures.set("C_GenerateKeyPairAsync", ["CKR_DEVICE_MEMORY"]);
    await expect(keys.generate("a", "ec-p256")).rejects.toMatchObject({
      kind: "refused",
      detail: "cannot make key a of type ec-p256: CKR_DEVICE_MEMORY, the device has no room for another key",
    });
    expect(await reopen().list()).toEqual([before]);
    keys = reopen();
    const after = await keys.generate("a", "ec-p256");
    expect(library.objects.size).toBe(2);
    await expect(keys.sign(before, DIGEST)).rejects.toMatchObject({
      kind: "refused",
      detail: "key a is no longer in the token",
    });
    expect(await verifies(after)).toBe(true);
  });
});

describe("whether a key is there", () => {
  it("is told by its own id, and by either half, since a session without login is shown no private ones", async () => {
    const before = await keys.generate("a", "ec-p256");
    const after = await keys.generate("a", "ec-p256");
    expect(await keys.exists(before.handle)).toBe(false);
    expect(await keys.exists(after.handle)).toBe(true);
    for (const [number, attributes] of library.objects) {
      if (attributes.get(CK.CKA_CLASS)?.readBigUInt64LE() === BigInt(CK.CKO_PRIVATE_KEY)) {
        library.objects.delete(number);
      }
    }
    expect(await keys.exists(after.handle)).toBe(true);
    library.objects.clear();
    expect(await keys.exists(after.handle)).toBe(false);
  });
});

describe("two servers with one prefix in one token", () => {
  it("do not destroy each other's keys: neither makes one where the other did", async () => {
    const ours = await keys.generate("a", "ec-p256");
    const other = reopen("p", new KnownKeys());
    await expect(other.generate("a", "ec-p256")).rejects.toMatchObject({
      kind: "refused",
      detail: expect.stringContaining("another server uses this prefix") as string,
    });
    expect(library.objects.size).toBe(2);
    expect(await verifies(ours)).toBe(true);
  });

  it("delete exactly their own", async () => {
    const ours = await keys.generate("a", "ec-p256");
    await keys.destroy("a", `${ours.handle.slice(0, -2)}zz`);
    expect(await verifies(ours)).toBe(true);
    await keys.destroy("a", ours.handle);
    expect(library.objects.size).toBe(0);
  });

  it("are not seen where the answer to the making of a key was lost", async () => {
    const before = await keys.generate("a", "ec-p256");
    const held = tokenKeys(token, "p", clock);
    const lost = known.making(async (order) => {
      library.failures.set("C_DestroyObject", ["CKR_DEVICE_ERROR"]);
      await held.generate("a", "ec-p256", order);
      throw new Error("lost");
    });
    await expect(lost).rejects.toThrow("lost");
    expect(library.objects.size).toBe(4);
    const after = await reopen().generate("a", "ec-p256");
    expect(after.handle).not.toBe(before.handle);
    expect(library.objects.size).toBe(2);
  });

  it("are known as ours where the first answer was lost and the device was away for days after that", async () => {
    const held = tokenKeys(token, "p", clock);
    const lost = known.making(async (order) => {
      await held.generate("a", "ec-p256", order);
      throw new Error("lost");
    });
    await expect(lost).rejects.toThrow("lost");
    for (let n = 0; n < 1000; n++) {
      const away = known.making(() => Promise.reject(new Error("away")));
      await expect(away).rejects.toThrow("away");
    }
    await reopen().generate("a", "ec-p256");
    expect(library.objects.size).toBe(2);
  });

  it("have names of their own, though they are made in one moment", async () => {
    const handles = new Set<string>();
    for (let n = 0; n < 100; n++) handles.add((await keys.generate(`k${n}`, "ec-p256")).handle);
    expect(handles.size).toBe(100);
  });
});

describe("an opening", () => {
  it("finds the keys that were made before", async () => {
    const made = [await keys.generate("a", "ec-p256"), await keys.generate("b", "ec-p384")];
    expect(await reopen().list()).toEqual(made);
  });

  it("takes the newest of two keys of one id and destroys the other", async () => {
    await keys.generate("a", "ec-p256");
    library.failures.set("C_DestroyObject", ["CKR_DEVICE_ERROR"]);
    const newest = await keys.generate("a", "ec-p256");
    expect(library.objects.size).toBe(4);
    keys = reopen();
    expect(await keys.list()).toEqual([newest]);
    expect(library.objects.size).toBe(2);
    expect(await verifies(newest)).toBe(true);
  });

  it("destroys half a key where a whole one is there, and leaves one that is alone", async () => {
    await keys.generate("a", "ec-p256");
    const [first] = library.objects.keys();
    library.objects.delete(first as number);
    expect(await reopen().list()).toEqual([]);
    expect(library.objects.size).toBe(1);
    keys = reopen();
    const whole = await keys.generate("a", "ec-p256");
    expect(await reopen().list()).toEqual([whole]);
    expect(library.objects.size).toBe(2);
  });

  it("touches nothing of others: another prefix, a longer one, the same label with an id that is not ours", async () => {
    await reopen("p/q").generate("a", "ec-p256");
    await reopen("other").generate("a", "ec-p256");
    const foreign = new Map([
      [CK.CKA_CLASS, classOf(CK.CKO_PRIVATE_KEY)],
      [CK.CKA_TOKEN, Buffer.of(1)],
      [CK.CKA_LABEL, Buffer.from("p/a")],
      [CK.CKA_ID, Buffer.from("theirs")],
    ]);
    library.add(foreign);
    library.add(new Map([...foreign].filter(([type]) => type !== CK.CKA_LABEL)));
    keys = reopen();
    expect(await keys.list()).toEqual([]);
    await keys.generate("a", "ec-p256");
    const [made] = await keys.list();
    await keys.destroy("a", made?.handle ?? "");
    expect(library.objects.size).toBe(6);
  });

  it("finds a token by its slot, and says what there is where it finds none or two", () => {
    expect(() => openToken(library, { slot: 7 }, "1234")).not.toThrow();
    expect(() => openToken(library, { slot: 8 }, "1234")).toThrow(
      'there is no token in slot 8; the library shows "token one" in slot 7',
    );
    library.slots = [7, 9];
    expect(() => openToken(library, { label: "token one" }, "1234")).toThrow(/more than one token/);
    library.slots = [];
    expect(() => openToken(library, { label: "x" }, "1234")).toThrow(/no token with the label "x".*none$/);
  });

  it.each([
    ["is locked", CK.CKF_USER_PIN_LOCKED, /is locked/],
    ["would be locked by one more wrong one", CK.CKF_USER_PIN_FINAL_TRY, /none is tried/],
  ])("tries no PIN where it %s", (_, flags, detail) => {
    library.flags = flags;
    library.calls.length = 0;
    expect(() => openToken(library, { slot: 7 }, "1234")).toThrow(detail);
    expect(library.calls).not.toContain("C_Login");
    expect(library.calls.at(-1)).toBe("C_Finalize");
  });

  it("tries a wrong PIN once, and does not repeat it", () => {
    library.calls.length = 0;
    try {
      openToken(library, { slot: 7 }, "8899-wrong");
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        kind: "pin",
        detail: expect.stringMatching(/CKR_PIN_INCORRECT/) as string,
      });
      expect(String(error)).not.toContain("8899");
    }
    expect(library.calls.filter((call) => call === "C_Login")).toHaveLength(1);
  });

  it("that is repeated by one who is logged in goes on", () => {
    library.failures.set("C_Login", ["CKR_USER_ALREADY_LOGGED_IN"]);
    expect(() => openToken(library, { slot: 7 }, "1234")).not.toThrow();
  });
});

describe("signing", () => {
  it.each([
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_DEVICE_ERROR",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_GENERAL_ERROR",
  ])("that gets %s means that the device is lost", async (name) => {
    const key = await keys.generate("a", "ec-p256");
    for (const call of ["C_SignInit", "C_SignAsync"] as const) {
      library.failures.set(call, [name]);
      await expect(keys.sign(key, DIGEST)).rejects.toMatchObject({
        kind: "lost",
        detail: expect.stringMatching(new RegExp(`^cannot sign with key a: ${name}`)) as string,
      });
    }
  });

  it("that is refused for its mechanism leaves the device alone", async () => {
    const key = await keys.generate("a", "ec-p256");
    library.failures.set("C_SignInit", ["CKR_MECHANISM_INVALID"]);
    await expect(keys.sign(key, DIGEST)).rejects.toMatchObject({ kind: "refused" });
    expect(await verifies(key)).toBe(true);
  });

  it("looks for the key again where its handle has changed", async () => {
    const key = await keys.generate("a", "ec-p256");
    expect(await verifies(key)).toBe(true);
    library.failures.set("C_SignInit", ["CKR_KEY_HANDLE_INVALID"]);
    expect(await verifies(key)).toBe(true);
  });

  it("uses four sessions at once and queues the rest", async () => {
    const key = await keys.generate("a", "ec-p256");
    const { promise, resolve } = Promise.withResolvers<void>();
    library.pause = promise;
    const signing = Array.from({ length: 20 }, () => keys.sign(key, DIGEST));
    await new Promise((turn) => setImmediate(turn));
    expect(library.signing).toBe(4);
    resolve();
    await Promise.all(signing);
    expect(library.mostSigning).toBe(4);
  });

  it("makes do with the sessions that the device gives", async () => {
    library = new FakeCryptoki();
    library.maxSessions = 2;
    keys = keysOf(openToken(library, { slot: 7 }, "1234"));
    const key = await keys.generate("a", "ec-p256");
    await Promise.all(Array.from({ length: 10 }, () => keys.sign(key, DIGEST)));
    expect(library.mostSigning).toBe(2);
  });

  it("gives its session back where it failed", async () => {
    const key = await keys.generate("a", "ec-p256");
    for (let n = 0; n < 10; n++) {
      library.failures.set("C_SignAsync", ["CKR_FUNCTION_FAILED"]);
      await expect(keys.sign(key, DIGEST)).rejects.toMatchObject({ kind: "lost" });
    }
    expect(await verifies(key)).toBe(true);
  });
});

it("says goodbye to the device when it is let go, whatever that answers", () => {
  library.failures.set("C_CloseAllSessions", ["CKR_DEVICE_REMOVED"]);
  expect(() => token[Symbol.dispose]()).not.toThrow();
  expect(library.calls.at(-1)).toBe("C_CloseAllSessions");
});

function classOf(number: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes;
}
