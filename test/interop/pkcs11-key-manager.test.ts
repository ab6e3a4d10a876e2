import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { loadOptionalPackage } from "../../src/files/optional-package.ts";
import { CK, type Handle, type Pkcs11Package } from "../../src/keys/pkcs11/cryptoki.ts";
import { newKeyName } from "../../src/keys/pkcs11/key-name.ts";
import { openPkcs11KeyManager } from "../../src/keys/pkcs11/pkcs11.ts";
import { pairTemplate } from "../../src/keys/pkcs11/token-objects.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import type { ManagedKey } from "../../src/plugin/key-manager.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { isValid, keyManagerSuite } from "../contract/key-manager-suite.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { makeSoftHsm, type SoftHsm } from "./softhsm.ts";

describeWith(["softhsm"], "SoftHSM 2", () => {
  let scratch: Scratch;
  let hsm: SoftHsm;
  beforeAll(async () => {
    scratch = await makeScratch();
    hsm = await makeSoftHsm(scratch);
    process.env["SOFTHSM2_CONF"] = hsm.env.SOFTHSM2_CONF;
  }, BUILD_PATIENCE);
  afterAll(async () => {
    delete process.env["SOFTHSM2_CONF"];
    await scratch?.[Symbol.asyncDispose]();
  });

  const open = (place: string) => openPkcs11KeyManager({ ...hsm.config, key_label_prefix: place }, host);

  keyManagerSuite("pkcs11 on SoftHSM 2", open, { durable: true, patience: 60_000 });

  it("keeps keys that whoever has the PIN cannot read out", async () => {
    await using keys = await open("sealed");
    const types = ["ec-p256", "rsa-2048"] as const;
    for (const type of types) await keys.generateKey(type, type);
    using token = await login();
    const { library, session } = token;
    for (const [type, secrets] of [
      ["ec-p256", [CKA_VALUE]],
      ["rsa-2048", [CKA_PRIVATE_EXPONENT, CKA_PRIME_1]],
    ] as const) {
      library.C_FindObjectsInit(session, [
        { type: CK.CKA_CLASS, value: CK.CKO_PRIVATE_KEY },
        { type: CK.CKA_LABEL, value: `sealed/${type}` },
      ]);
      const [found] = library.C_FindObjects(session, 2);
      library.C_FindObjectsFinal(session);
      for (const secret of secrets) {
        expect(() => library.C_GetAttributeValue(session, found as Handle, [{ type: secret }])).toThrow(
          "CKR_ATTRIBUTE_SENSITIVE",
        );
      }
    }
  });

  it("takes the newest of two keys that a crash left under one id, and destroys the older", async () => {
    const older = await makeKey("crashed", 1);
    const newer = await makeKey("crashed", 2);
    await using keys = await open("crashed");
    const [key, ...others] = await keys.listKeys();
    expect(others).toEqual([]);
    expect(Buffer.from(key?.publicKey ?? []).toString("hex")).toContain(newer);
    expect(Buffer.from(key?.publicKey ?? []).toString("hex")).not.toContain(older);
    expect(isValid(key as ManagedKey, DATA, (await key?.sign(DATA, "der")) as Uint8Array, "der")).toBe(true);
    using token = await login();
    expect(countLabelled(token, "crashed/a")).toBe(2);
  });

  it("signs on with the same keys after its process has crashed, failing only what was under way", async () => {
    await using keys = await open("crashing");
    const key = await keys.generateKey("a", "ec-p256");
    for (let round = 0; round < 3; round++) {
      const underWay = Promise.allSettled(Array.from({ length: 50 }, async () => key.sign(DATA, "der")));
      killTokenProcesses();
      for (const one of await underWay) {
        if (one.status === "rejected") expect(String(one.reason)).toMatch(/KEY_UNAVAILABLE.*SIGKILL/);
        else expect(isValid(key, DATA, one.value, "der")).toBe(true);
      }
      expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
    }
  });

  it("finds its token again after that was away", async () => {
    await using keys = await open("away");
    const key = await keys.generateKey("a", "ec-p256");
    await hsm.setPresent(false);
    try {
      killTokenProcesses();
      await expect(async () => key.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
      await expect(async () => key.sign(DATA, "der")).rejects.toThrowCode(
        "KEY_UNAVAILABLE",
        /CKR_GENERAL_ERROR/,
      );
    } finally {
      await hsm.setPresent(true);
    }
    await expect
      .poll(async () => key.sign(DATA, "der"), { timeout: 30_000 })
      .toSatisfy((signature: Uint8Array) => isValid(key, DATA, signature, "der"));
  });

  it("uses a token by its slot, and shares nothing with another token", async () => {
    await hsm.addToken("second");
    const second = await openPkcs11KeyManager(
      { ...hsm.config, token_label: "second", key_label_prefix: "slot" },
      host,
    );
    await using _ = second;
    await second.generateKey("a", "ec-p256");
    await using first = await open("slot");
    expect(await first.listKeys()).toEqual([]);
    using token = await login("second");
    await using bySlot = await openPkcs11KeyManager(
      {
        ...hsm.config,
        token_label: undefined,
        slot: Number(token.slot.readBigUInt64LE()),
        key_label_prefix: "slot",
      },
      host,
    );
    expect((await bySlot.listKeys()).map(({ id }) => id)).toEqual(["a"]);
  });

  /** A session of this very process, as any program with the PIN has it. */
  async function login(label = "assay") {
    const { PKCS11 } = await loadOptionalPackage<Pkcs11Package>("pkcs11js", {
      folder: hsm.config.packages_folder,
    });
    const library = new PKCS11();
    library.load(hsm.config.module_path);
    library.C_Initialize({ flags: CK.CKF_OS_LOCKING_OK });
    const slot = library
      .C_GetSlotList(true)
      .find((one) => library.C_GetTokenInfo(one).label.trim() === label) as Handle;
    const session = library.C_OpenSession(slot, CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION);
    library.C_Login(session, CK.CKU_USER, hsm.pin);
    return { library, session, slot, [Symbol.dispose]: () => library.C_Finalize() };
  }

  /** Makes a key with the id `a` as one that was made at this time is; gives the x coordinate of its public half. */
  async function makeKey(prefix: string, generation: number): Promise<string> {
    using token = await login();
    const { library, session } = token;
    const name = newKeyName(prefix, "a", generation, randomBytes(4));
    const { publicKey } = await library.C_GenerateKeyPairAsync(session, ...pairTemplate("ec-p256", name));
    const [point] = library.C_GetAttributeValue(session, publicKey, [{ type: CK.CKA_EC_POINT }]);
    return (point?.value.toString("hex") ?? "").slice(6, 70);
  }

  function countLabelled({ library, session }: Awaited<ReturnType<typeof login>>, label: string): number {
    library.C_FindObjectsInit(session, [{ type: CK.CKA_LABEL, value: label }]);
    const found = library.C_FindObjects(session, 100);
    library.C_FindObjectsFinal(session);
    return found.length;
  }

  /** As a library does that crashes. */
  function killTokenProcesses(): void {
    for (const task of readdirSync("/proc/self/task")) {
      const children = readFileSync(`/proc/self/task/${task}/children`, "utf8").split(" ").filter(Boolean);
      for (const child of children) {
        if (readFileSync(`/proc/${child}/cmdline`, "utf8").includes("token-process"))
          process.kill(Number(child), "SIGKILL");
      }
    }
  }
});

const host: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn() {}, error() {} },
};
const DATA = Buffer.from("data");
const CKA_VALUE = 0x11;
const CKA_PRIVATE_EXPONENT = 0x123;
const CKA_PRIME_1 = 0x124;
