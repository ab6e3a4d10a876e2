import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { hashicorpVaultKeyManager } from "../../src/keys/hashicorp-vault/hashicorp-vault.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { isValid, keyManagerSuite } from "../contract/key-manager-suite.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { type DevVault, startVault, vaultHost } from "./vault.ts";

// As docs/plugins/key-manager-hashicorp-vault.md gives it.
const POLICY = `
path "transit/keys" { capabilities = ["list"] }
path "transit/keys/*" { capabilities = ["create", "read", "update", "delete"] }
path "transit/sign/*" { capabilities = ["update"] }
`;
const DATA = Buffer.from("data");

describeWith(["go"], "HashiCorp Vault's transit engine", () => {
  let scratch: Scratch;
  let vault: DevVault;
  let login: object;
  beforeAll(async () => {
    scratch = await makeScratch();
    vault = await startVault(scratch);
    await vault.post("sys/mounts/transit", { type: "transit" });
    login = await vault.appRole("keys", POLICY);
  }, BUILD_PATIENCE);
  afterAll(async () => {
    await vault?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  async function open(settings: object): Promise<KeyManager> {
    const all = { ...vault.reach, ...settings };
    const read = await hashicorpVaultKeyManager.config["~standard"].validate(all);
    if (read.issues !== undefined) throw new Error(JSON.stringify(read.issues));
    return hashicorpVaultKeyManager.create(read.value, vaultHost);
  }

  const run = randomBytes(4).toString("hex");
  keyManagerSuite(
    "hashicorp_vault on Vault, with the least policy",
    (place) => open({ ...login, key_identifier_value: `${run}-${place}` }),
    { durable: true, patience: 60_000 },
  );

  it("signs after a login with a token, with a secret ID and with a client certificate", async () => {
    const ways = [
      { token_auth: { token_file: vault.rootTokenFile } },
      login,
      await vault.certificateRole("by-certificate", POLICY),
    ];
    for (const [n, way] of ways.entries()) {
      await using keys = await open({ ...way, key_identifier_value: `way-${n}` });
      const key = await keys.generateKey("a", "rsa-4096");
      expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
    }
  });

  it("is not to be used with a wrong secret ID, a foreign certificate or a policy that lacks it", async () => {
    const wrong = scratch.at("wrong");
    await writeFile(wrong, "f6a8c9c4-0000-4000-8000-000000000000", { mode: 0o600 });
    const { approle_auth: role } = await vault.appRole("other", POLICY);
    const certificate = await vault.certificateRole("renamed", POLICY);
    for (const way of [
      { approle_auth: { ...role, approle_secret_id_file: wrong } },
      { cert_auth: { ...certificate.cert_auth, cert_auth_role_name: "by-certificate" } },
      await vault.appRole("nothing", 'path "secret/*" { capabilities = ["read"] }'),
    ]) {
      await using keys = await open({ ...way, key_identifier_value: "s" });
      const listing = keys.listKeys();
      await expect(listing).rejects.toThrowCode("KEY_UNAVAILABLE", /40[03]/);
      await expect(listing).rejects.not.toThrow(/f6a8c9c4/);
    }
  });

  it("signs on over many lives of a token, to its longest and beyond", async () => {
    const role = { token_ttl: "2s", token_max_ttl: "5s" };
    await using keys = await open({
      ...(await vault.appRole("brief", POLICY, role)),
      key_identifier_value: "b",
    });
    const key = await keys.generateKey("a", "ec-p256");
    const end = performance.now() + 12_000;
    while (performance.now() < end) {
      expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }, 60_000);

  it("signs on where the token was revoked", async () => {
    await using keys = await open({ ...login, key_identifier_value: "revoked" });
    const key = await keys.generateKey("a", "ec-p384");
    await vault.post("sys/leases/revoke-prefix/auth/approle");
    expect(isValid(key, DATA, await key.sign(DATA, "p1363"), "p1363")).toBe(true);
  });

  it("revokes the tokens of its logins when it is closed, and not the one that it was given", async () => {
    const role = await vault.appRole("closing", POLICY);
    for (const way of [
      role,
      await vault.certificateRole("closing-certificate", POLICY),
      { token_auth: { token_file: vault.rootTokenFile } },
    ]) {
      const before = await vault.accessors();
      const keys = await open({ ...way, key_identifier_value: "closing" });
      await keys.listKeys();
      expect(await vault.accessors()).toHaveLength(before.length + ("token_auth" in way ? 0 : 1));
      await keys[Symbol.asyncDispose]();
      expect((await vault.accessors()).toSorted()).toEqual(before.toSorted());
    }
  });

  it("says that a key is gone which somebody else deleted", async () => {
    await using keys = await open({ ...login, key_identifier_value: "gone" });
    const key = await keys.generateKey("a", "ec-p256");
    await using thief = await open({ ...login, key_identifier_value: "gone" });
    await thief.deleteKey("a");
    await expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /not found|no existing/,
    );
  });
});
