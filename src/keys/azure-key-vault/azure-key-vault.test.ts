import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../clock.ts";
import { azureCredential } from "../../cloud/azure/azure-credential.ts";
import { azureError } from "../../cloud/azure/azure-error.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeKeyVault, restError } from "../../../test/fakes/key-vault.ts";
import { RemoteKeyManager } from "../remote-key-manager.ts";
import { azureKeyVaultKeyManager } from "./azure-key-vault.ts";
import { keyIdOf, newKeyName } from "./key-vault-names.ts";

const DATA = Buffer.from("data");
const TAGS = { "spire-server-td": "example.org", "spire-server-id": "s" };
const NAME = "spire-key-1f0d4a4e-9f5c-4c5e-8a64-5a0a3d1f2b11-x509-CA-A";
let warnings: string[] = [];

function open(vault: FakeKeyVault, serverId = "s", clock: Clock = systemClock) {
  const log = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
  const service = vault.service({ trustDomain: parseTrustDomain("example.org"), clock, log }, serverId);
  return { service, keys: new RemoteKeyManager(service, { clock, log }) };
}

const shared = new FakeKeyVault(systemClock);
keyManagerSuite("azure_key_vault on a fake", async (place) => open(shared, place).keys, { durable: true });

describe("keys in Key Vault", () => {
  let clock: FakeClock;
  let vault: FakeKeyVault;
  beforeEach(() => {
    clock = new FakeClock();
    vault = new FakeKeyVault(clock);
    warnings = [];
  });

  it("are named and tagged as SPIRE does it", async () => {
    await using keys = open(vault).keys;
    await keys.generateKey("x509-CA-A", "ec-p384");
    const [[name, key] = []] = vault.keys;
    expect(name).toMatch(/^spire-key-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-x509-CA-A$/);
    expect(key?.tags).toEqual(TAGS);
  });

  it("of SPIRE, of this server and trust domain, are found, the youngest of an id, and used", async () => {
    vault.put(NAME, "EC", { tags: TAGS, createdOn: new Date(clock.now() + 1) });
    vault.put(NAME.replace("1f", "2f"), "RSA", { tags: TAGS, createdOn: new Date(clock.now()) });
    vault.put(NAME.replace("1f", "3f"), "EC", { tags: { ...TAGS, "spire-server-id": "other" } });
    vault.put(NAME.replace("1f", "4f"), "EC", { tags: { ...TAGS, "spire-server-td": "other.org" } });
    vault.put(NAME.replace("1f", "5f"), "EC");
    vault.put("by-hand", "EC", { tags: TAGS });
    const { keys, service } = open(vault, "s", clock);
    await using _ = keys;
    const [key, ...others] = await keys.listKeys();
    expect(others).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/^of two keys with one id the older is deleted/)]);
    expect(key).toMatchObject({ id: "x509-CA-A", type: "ec-p256" });
    expect(isValid(key!, DATA, await key!.sign(DATA, "p1363"), "p1363")).toBe(true);
    await service.tidy();
    expect([...vault.keys.keys()].some((name) => name.includes("-2f"))).toBe(false);
    expect(vault.keys.size).toBe(5);
  });

  it("are not deleted as the older ones where the younger was gone when they could be listed", async () => {
    vault.put(NAME, "EC", { tags: TAGS });
    clock.step(1000);
    const younger = NAME.replace("1f", "2f");
    vault.put(younger, "EC", { tags: TAGS });
    const { keys, service } = open(vault);
    await using _ = keys;
    vault.fault = (call) => {
      if (call.startsWith("get")) throw restError(503, "ServiceUnavailable");
    };
    await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE");
    vault.fault = () => {};
    vault.keys.get(younger)!.enabled = false;
    expect(await keys.listKeys()).toHaveLength(1);
    await service.tidy();
    expect(vault.keys.has(NAME)).toBe(true);
  });

  it("that are disabled are not used and not deleted", async () => {
    vault.put(NAME, "EC", { tags: TAGS, enabled: false });
    const { keys, service } = open(vault);
    await using _ = keys;
    expect(await keys.listKeys()).toEqual([]);
    await service.tidy();
    expect(vault.keys.size).toBe(1);
    expect(warnings).toEqual(["a key in Key Vault is disabled and not used"]);
  });

  it("of a kind that nobody can use are taken for lost, and cost neither other keys nor older ones of their id", async () => {
    vault.put(NAME, "EC", { tags: TAGS, createdOn: new Date(clock.now()) });
    const unusable = NAME.replace("1f", "2f");
    vault.put(unusable, "EC", { tags: TAGS, createdOn: new Date(clock.now() + 1), curve: "P-521" });
    const { keys, service } = open(vault);
    await using _ = keys;
    const { id } = await keys.generateKey("jwt-A", "ec-p256");
    expect((await keys.listKeys()).map((key) => key.id)).toEqual([id]);
    expect(warnings).toEqual(["a key in Key Vault cannot be used and is taken for lost"]);
    await service.tidy();
    expect([...vault.keys.keys()]).toEqual(expect.arrayContaining([NAME, unusable]));
  });

  it("that are gone at runtime are given up, not those that are disabled", async () => {
    await using keys = open(vault, "s", clock).keys;
    for (const id of ["a", "b", "c"]) await keys.generateKey(id, "ec-p256");
    const [a = "", b = ""] = vault.keys.keys();
    vault.keys.delete(a);
    vault.keys.get(b)!.enabled = false;
    for (const id of ["a", "b", "c", "a", "b", "c"]) {
      clock.step(300_000);
      await keys.getKey(id);
    }
    expect((await keys.listKeys()).map(({ id }) => id)).toEqual(["b", "c"]);
  });

  it("of ids that do not fit a name are found again, and not where tag and name differ", async () => {
    await using keys = open(vault).keys;
    await keys.generateKey("under_score", "ec-p256");
    const [name = ""] = vault.keys.keys();
    expect(name).not.toContain("_");
    await using again = open(vault).keys;
    expect((await again.listKeys()).map(({ id }) => id)).toEqual(["under_score"]);
    vault.keys.get(name)!.tags["assay-key-id"] = "x509-CA-A";
    await using fooled = open(vault).keys;
    expect(await fooled.listKeys()).toEqual([]);
  });

  it("that were replaced and cannot be deleted are deleted later", async () => {
    const { keys, service } = open(vault);
    await using _ = keys;
    await keys.generateKey("a", "ec-p256");
    vault.fault = (call) => {
      if (call.startsWith("delete")) throw restError(503, "ServiceUnavailable");
    };
    await keys.generateKey("a", "ec-p256");
    expect(vault.keys.size).toBe(2);
    vault.fault = () => {};
    await service.tidy();
    expect(vault.keys.size).toBe(1);
  });

  it.each([
    ["a signature that is too short", (it: Uint8Array) => it.subarray(1), /63 octets/],
    ["no octets", () => "text" as unknown as Uint8Array, /no signature/],
  ])("that answer %s are unavailable", async (_title, bend, detail) => {
    await using keys = open(vault).keys;
    const key = await keys.generateKey("a", "ec-p256");
    vault.bend = bend;
    await expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE", detail);
  });

  it("fail with Azure's code and status, and without its message", async () => {
    await using keys = open(vault).keys;
    vault.fault = () => {
      throw restError(403, "Forbidden");
    };
    await expect(keys.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^keys\/list failed: Forbidden \(status 403\)$/,
    );
    vault.fault = () => {};
    expect(await keys.listKeys()).toEqual([]);
  });

  it("fail at the deadline where Azure stalls, and at once when the manager is closed", async () => {
    const { keys } = open(vault, "s", clock);
    const key = await keys.generateKey("a", "ec-p256");
    vault.fault = () => new Promise(() => {});
    const signing = (async () => key.sign(DATA, "der"))();
    signing.catch(() => undefined);
    await clock.advance(30_000);
    await expect(signing).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^keys\/sign failed: no answer within 30000 ms$/,
    );
    const listing = (async () => key.sign(DATA, "der"))();
    listing.catch(() => undefined);
    await keys[Symbol.asyncDispose]();
    await expect(listing).rejects.toThrowCode("KEY_UNAVAILABLE", /closed/);
  });
});

describe("names in Key Vault", () => {
  it("lead back to every id", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{1,128}$/), (id) => {
        const named = newKeyName(id);
        expect(named.name).toMatch(/^[A-Za-z0-9-]{1,127}$/);
        expect(keyIdOf(named)).toBe(id);
      }),
    );
  });
});

describe("azureError", () => {
  it.each([
    [
      Object.assign(new Error("AADSTS7000215: Invalid client secret 'abc'"), { name: "AuthenticationError" }),
      "AADSTS7000215",
    ],
    [Object.assign(new Error("connect"), { code: "ECONNREFUSED" }), "ECONNREFUSED"],
    [Object.assign(new Error("x"), { code: "a b\n" }), "Error"],
    ["text", "unknown reason"],
  ])("names %s as %s", (error, name) => {
    expect(azureError("KEY_UNAVAILABLE", "keys/get", error).detail).toBe(`keys/get failed: ${name}`);
  });
});

describe("settings of azure_key_vault", () => {
  const base = { key_vault_uri: "https://v.vault.azure.net/", key_identifier_value: "s" };
  const issues = async (change: object) =>
    (await azureKeyVaultKeyManager.config["~standard"].validate({ ...base, ...change })).issues;

  it("are good with the vault and an identifier, and with an application", async () => {
    expect(await issues({})).toBeUndefined();
    expect(
      await issues({ tenant_id: "t", app_id: "a", app_secret_file: "/s", subscription_id: "x" }),
    ).toBeUndefined();
  });

  it.each([
    ["http", { key_vault_uri: "http://v" }],
    ["a path", { key_vault_uri: "https://v/keys" }],
    ["two identifiers", { key_identifier_file: "/f" }],
    ["an application without its secret", { tenant_id: "t", app_id: "a" }],
    ["an application without its tenant", { app_id: "a", app_secret_file: "/s" }],
    ["a secret in the configuration", { app_secret: "s" }],
  ])("refuse %s", async (_title, change) => {
    expect(await issues(change)).toHaveLength(1);
  });

  it("need the packages, and say how to install them", async () => {
    await expect(azureCredential({ packagesFolder: tmpdir() })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install @azure\/identity/,
    );
  });

  it("take the secret from its file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "azure-"));
    try {
      writeFileSync(join(folder, "empty"), "\n");
      const app = { tenantId: "t", appId: "a", packagesFolder: folder };
      await expect(azureCredential(app)).rejects.toThrowCode("CONFIG_INVALID", /together/);
      const place = join(folder, "node_modules/@azure/identity");
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, "index.js"), "exports.ClientSecretCredential = class {};");
      const appSecretFile = join(folder, "open");
      writeFileSync(appSecretFile, "secret");
      chmodSync(appSecretFile, 0o644);
      await expect(azureCredential({ ...app, appSecretFile })).rejects.toThrowCode(
        "CONFIG_INVALID",
        /app_secret_file .* has mode 0644/,
      );
      chmodSync(appSecretFile, 0o600);
      expect(await azureCredential({ ...app, appSecretFile })).toBeDefined();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
