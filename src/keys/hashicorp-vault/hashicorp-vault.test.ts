import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../clock.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { KeyManager } from "../../plugin/key-manager.ts";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeVault, makeTransitKey, sendVault } from "../../../test/fakes/vault.ts";
import { hashicorpVaultKeyManager } from "./hashicorp-vault.ts";

let shared: FakeVault;
let folder: string;
const warnings: string[] = [];

beforeAll(async () => {
  shared = await FakeVault.start();
  folder = mkdtempSync(join(tmpdir(), "vault-keys-"));
});

afterAll(async () => {
  await shared[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function open(settings: object, vault = shared, clock = systemClock): Promise<KeyManager> {
  const read = await hashicorpVaultKeyManager.config["~standard"].validate({
    ...vault.settings,
    ...settings,
  });
  if (read.issues !== undefined) throw new Error(JSON.stringify(read.issues));
  const log = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
  return hashicorpVaultKeyManager.create(read.value, {
    trustDomain: parseTrustDomain("example.org"),
    clock,
    log,
  });
}

let places = 0;
const base = `p${process.pid}`;
const seats = new Map<string, string>();
keyManagerSuite(
  "hashicorp_vault on a fake",
  (place) => {
    if (!seats.has(place)) seats.set(place, `${base}-${places++}`);
    return open({ key_identifier_value: seats.get(place) });
  },
  { durable: true },
);

describe("keys in Vault", () => {
  let vault: FakeVault;
  beforeEach(async () => {
    vault = await FakeVault.start();
    warnings.length = 0;
    return () => vault[Symbol.asyncDispose]();
  });

  it("are named as SPIRE names them and can never be exported", async () => {
    await using keys = await open({ key_identifier_value: "server-1" }, vault);
    await keys.generateKey("x509-CA-A", "ec-p256");
    expect([...vault.keys.keys()].join()).toMatch(
      /^server-1-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-x509-CA-A$/,
    );
    expect(vault.calls(/^POST transit\/keys/)[0]?.body).toMatchObject({
      type: "ecdsa-p256",
      exportable: false,
      allow_plaintext_backup: false,
    });
  });

  it("are signed with by digest, in the version that was read", async () => {
    await using keys = await open({ key_identifier_value: "s" }, vault);
    const key = await keys.generateKey("a", "rsa-2048");
    await key.sign(Buffer.from("data"), "der");
    const [signing] = vault.calls(/sign/);
    expect(signing?.path).toMatch(/\/sha2-256$/);
    expect(signing?.body).toMatchObject({
      prehashed: true,
      key_version: 1,
      signature_algorithm: "pkcs1v15",
    });
  });

  it("that are gone at runtime are given up", async () => {
    const clock = new FakeClock();
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    for (const id of ["a", "b", "c"]) await keys.generateKey(id, "ec-p256");
    const [a = ""] = vault.keys.keys();
    vault.keys.delete(a);
    for (const id of ["a", "b", "c", "a", "b", "c"]) {
      clock.step(300_000);
      await keys.getKey(id);
    }
    expect((await keys.listKeys()).map(({ id }) => id)).toEqual(["b", "c"]);
  });

  it("are found again by the identifier in a file, which is made", async () => {
    const file = join(folder, "identifier");
    const first = await open({ key_identifier_file: file }, vault);
    const made = await first.generateKey("a", "ec-p256");
    await first[Symbol.asyncDispose]();
    expect(readFileSync(file, "utf8")).toMatch(/^[0-9a-f-]{36}$/);
    await using second = await open({ key_identifier_file: file }, vault);
    const found = await second.getKey("a");
    expect(Buffer.from(found?.publicKey ?? [])).toEqual(Buffer.from(made.publicKey));
  });

  it("are taken over from SPIRE, the youngest of an id, and the older one is deleted", async () => {
    const id = "1f0d4a4e-9f5c-4c5e-8a64-5a0a3d1f2b11";
    const older = makeTransitKey("ecdsa-p256", "2026-11-01T00:00:00.123456789Z");
    const younger = makeTransitKey("ecdsa-p384", "2026-11-02T00:00:00.123456789Z");
    vault.keys.set(`s-${id}-x509-CA-A`, younger);
    vault.keys.set(`s-${id.replace("1f", "2f")}-x509-CA-A`, older);
    vault.keys.set(`other-${id}-x509-CA-A`, makeTransitKey("ecdsa-p256"));
    vault.keys.set("s-mine-by-hand", makeTransitKey("ecdsa-p256"));
    const clock = new FakeClock();
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    const all = await keys.listKeys();
    expect(all.map((key) => [key.id, key.type])).toEqual([["x509-CA-A", "ec-p384"]]);
    expect(warnings).toEqual([expect.stringMatching(/^of two keys with one id the older is deleted/)]);
    await clock.advance(60_000);
    await expect.poll(() => [...vault.keys.keys()].length).toBe(3);
    expect(vault.keys.has(`s-${id}-x509-CA-A`)).toBe(true);
  });

  it("are not deleted as the older ones where the younger was gone when they could be listed", async () => {
    const id = "1f0d4a4e-9f5c-4c5e-8a64-5a0a3d1f2b11";
    const [older, younger, third] = [`s-${id}-a`, `s-${id.replace("1f", "2f")}-a`, `s-${id}-b`];
    vault.keys.set(older, makeTransitKey("ecdsa-p256", "2026-11-01T00:00:00Z"));
    vault.keys.set(younger, makeTransitKey("ecdsa-p256", "2026-11-02T00:00:00Z"));
    for (let n = 0; n < 8; n++) {
      const name = third.replace(/b$/, `b${n}`);
      vault.keys.set(name, makeTransitKey("ecdsa-p256", "2026-11-02T00:00:00Z"));
    }
    vault.instead = ({ method, path }, response) => {
      if (method !== "GET" || !path.endsWith("-b7")) return false;
      sendVault(response, 403, { errors: ["not today"] });
      return true;
    };
    const clock = new FakeClock();
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", /not today/);
    vault.keys.delete(younger);
    vault.instead = () => false;
    expect(await keys.listKeys()).toHaveLength(9);
    await clock.advance(60_000);
    await keys.generateKey("c", "ec-p256");
    expect(vault.keys.has(older)).toBe(true);
  });

  it("with a name of ours that cannot sign are left alone", async () => {
    vault.keys.set("s-1f0d4a4e-9f5c-4c5e-8a64-5a0a3d1f2b11-a", makeTransitKey("aes256-gcm96"));
    await using keys = await open({ key_identifier_value: "s" }, vault);
    expect(await keys.listKeys()).toEqual([]);
    expect(vault.keys.size).toBe(1);
    expect(warnings).toEqual(["a key in Vault is left alone"]);
  });

  it("that were replaced and cannot be deleted are deleted later", async () => {
    const clock = new FakeClock();
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    await keys.generateKey("a", "ec-p256");
    vault.instead = ({ method }, response) => {
      if (method !== "DELETE") return false;
      sendVault(response, 400, { errors: ["not today"] });
      return true;
    };
    const key = await keys.generateKey("a", "ec-p256");
    expect(vault.keys.size).toBe(2);
    vault.instead = () => false;
    await clock.advance(60_000);
    await expect.poll(() => vault.keys.size).toBe(1);
    const data = Buffer.from("data");
    expect(isValid(key, data, await key.sign(data, "der"), "der")).toBe(true);
  });

  it("that were made and cannot be read are deleted later, and the one before signs on", async () => {
    const clock = new FakeClock();
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    const before = await keys.generateKey("a", "ec-p256");
    vault.instead = ({ method, path }, response) => {
      if (method !== "GET" || !path.includes("transit/keys")) return false;
      sendVault(response, 403, { errors: ["not today"] });
      return true;
    };
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE", /not today/);
    expect(vault.keys.size).toBe(2);
    vault.instead = () => false;
    await clock.advance(60_000);
    await expect.poll(() => vault.keys.size).toBe(1);
    const data = Buffer.from("data");
    expect(isValid(before, data, await before.sign(data, "der"), "der")).toBe(true);
  });

  it("that vanished make signing fail with what Vault said, and others sign on", async () => {
    await using keys = await open({ key_identifier_value: "s" }, vault);
    const lost = await keys.generateKey("a", "ec-p256");
    const held = await keys.generateKey("b", "ec-p256");
    vault.keys.delete([...vault.keys.keys()].find((name) => name.endsWith("-a")) ?? "");
    const data = Buffer.from("data");
    await expect((async () => lost.sign(data, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /no existing key/,
    );
    expect(isValid(held, data, await held.sign(data, "der"), "der")).toBe(true);
  });

  it.each([
    ["no signature", { data: {} }],
    ["a signature of another version", { data: { signature: "vault:v2:AAAA" } }],
    ["a signature without Vault's prefix", { data: { signature: "AAAA" } }],
    ["nothing", undefined],
  ])("that answer %s are unavailable", async (_title, answer) => {
    await using keys = await open({ key_identifier_value: "s" }, vault);
    const key = await keys.generateKey("a", "ec-p256");
    vault.instead = ({ path }, response) => {
      if (!path.includes("sign")) return false;
      sendVault(response, 200, answer);
      return true;
    };
    await expect((async () => key.sign(Buffer.of(1), "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
  });

  it("have the token revoked that they were reached with, after the last call, when the manager is closed", async () => {
    const approle = { approle_id: "role-id", approle_secret_id_file: vault.path("secret-id") };
    const keys = await open(
      { key_identifier_value: "s", token_auth: undefined, approle_auth: approle },
      vault,
    );
    await keys.generateKey("a", "ec-p256");
    await Promise.all([keys[Symbol.asyncDispose](), keys[Symbol.asyncDispose]()]);
    expect([...vault.tokens.keys()]).toEqual(["root-token"]);
    expect(vault.calls(/revoke-self/)).toHaveLength(1);
    expect(vault.seen.at(-1)?.path).toBe("auth/token/revoke-self");
    expect(warnings).toEqual([]);
  });

  it("are asked for again where Vault was away when the server started", async () => {
    const clock = new FakeClock();
    vault.instead = (_call, response) => {
      sendVault(response, 503, { errors: ["Vault is sealed"] });
      return true;
    };
    await using keys = await open({ key_identifier_value: "s" }, vault, clock);
    const asked = keys.listKeys();
    asked.catch(() => undefined);
    for (let n = 1; n <= 3; n++) {
      await expect.poll(() => vault.seen.length).toBe(n);
      await expect.poll(() => clock.pending >= 2 || n === 3).toBe(true);
      await clock.advance(2000);
    }
    await expect(asked).rejects.toThrowCode("KEY_UNAVAILABLE", /sealed/);
    vault.instead = () => false;
    expect(await keys.listKeys()).toEqual([]);
  });
});

describe("settings of hashicorp_vault", () => {
  const base = {
    vault_addr: "https://v.example",
    token_auth: { token_file: "/t" },
    key_identifier_value: "s",
  };
  const issues = async (change: object) =>
    (await hashicorpVaultKeyManager.config["~standard"].validate({ ...base, ...change })).issues;

  it("are good with one way to log in and one identifier", async () => {
    expect(await issues({})).toBeUndefined();
    expect(await issues({ vault_addr: "http://127.0.0.1:8200", insecure_skip_verify: true })).toBeUndefined();
  });

  it.each([
    [
      "two ways to log in",
      { approle_auth: { approle_id: "a", approle_secret_id_file: "/s" } },
      /exactly one of/,
    ],
    ["no way to log in", { token_auth: undefined }, /exactly one of/],
    ["blind trust in a remote server", { insecure_skip_verify: true }, /ca_cert_path/],
    ["a remote server in the clear", { vault_addr: "http://v.example" }, /https/],
    ["a password in the URL", { vault_addr: "https://u:p@v.example" }, /https URL/],
    ["a mount with dots for parents", { transit_engine_path: "transit/../sys" }, /mount/],
    ["two identifiers", { key_identifier_file: "/i" }, /exactly one of/],
    ["an identifier with a slash", { key_identifier_value: "a/b" }, /at most 128/],
    ["a token in the configuration", { token_auth: { token: "hvs.x" } }, /./],
    [
      "a certificate without TLS",
      {
        vault_addr: "http://127.0.0.1",
        token_auth: undefined,
        cert_auth: { client_cert_path: "/c", client_key_path: "/k" },
      },
      /shown in TLS/,
    ],
  ])("refuse %s", async (_title, change, expected) => {
    expect(JSON.stringify(await issues(change))).toMatch(expected);
  });
});
