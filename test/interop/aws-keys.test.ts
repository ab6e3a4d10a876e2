import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { awsKmsKeyManager } from "../../src/keys/aws-kms/aws-kms.ts";
import { guardKeyManager } from "../../src/keys/guarded.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { isValid, keyManagerSuite } from "../contract/key-manager-suite.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { Dialogue } from "./dialogue.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

let scratch: Scratch;
let cloud: Dialogue;
let endpoint: string;
let packages: string;
let warnings: string[] = [];
const host: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn: (message) => void warnings.push(message), error() {} },
};

// moto holds real keys; services.py says in what it was put right.
describeWith(["python"], "keys in AWS KMS as moto 5.2.5 imitates it, through the AWS SDK 3.1164", () => {
  beforeAll(async () => {
    scratch = await makeScratch();
    packages = await buildPeer("aws-sdk");
    const started = await Dialogue.start<{ endpoint: string }>("moto", ["services"]);
    cloud = started.dialogue;
    endpoint = started.first.endpoint;
    writeFileSync(scratch.at("secret"), "secret", { mode: 0o600 });
    writeFileSync(scratch.at("policy.json"), JSON.stringify({ Version: "2012-10-17", Statement: [] }));
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await cloud?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  keyManagerSuite("aws_kms on moto", async (place) => guarded(await open({ key_identifier_value: place })), {
    durable: true,
    runs: 5,
    patience: 120_000,
  });

  describe("aws_kms", { timeout: 120_000 }, () => {
    it("leaves a key that anybody finds by SPIRE's names, with policy and tags, and gives the old one up", async () => {
      await using keys = await open({
        key_identifier_value: "names",
        key_tags: { team: "security" },
        enable_tag_based_key_discovery: true,
      });
      await keys.generateKey("x509-CA-A", "ec-p256");
      await keys.generateKey("x509-CA-A", "ec-p256");
      const { aliases, keys: all } = await cloud.ask<Account>({ do: "keys" });
      const target = aliases["alias/SPIRE_SERVER/example_org/names/x509-CA-A"] ?? "";
      const mine = all.filter(({ tags }) => tags["spire-server-id"] === "names");
      expect(mine.map(({ state }) => state)).toEqual(["PendingDeletion", "Enabled"]);
      expect(mine[1]?.arn).toContain(target);
      expect(mine[1]).toMatchObject({
        description: "SPIRE_SERVER_KEY/example_org/x509-CA-A",
        tags: { "spire-server-td": "example.org", "spire-key-id": "x509-CA-A", team: "security" },
      });
      expect(JSON.parse(mine[1]?.policy ?? "")).toEqual({ Version: "2012-10-17", Statement: [] });
    });

    it("writes a policy for the role that it assumes", async () => {
      const { role } = await cloud.ask<{ role: string }>({ do: "role", name: "assay-server" });
      await using keys = await open({
        key_identifier_value: "role",
        key_policy_file: undefined,
        assume_role_arn: role,
      });
      const key = await keys.generateKey("x509-CA-A", "ec-p256");
      const data = Buffer.from("data");
      expect(isValid(key, data, await key.sign(data, "der"), "der")).toBe(true);
      const { aliases, keys: all } = await cloud.ask<Account>({ do: "keys" });
      const target = aliases["alias/SPIRE_SERVER/example_org/role/x509-CA-A"] ?? "";
      const policy = all.find(({ arn }) => arn.endsWith(target))?.policy ?? "";
      expect(JSON.parse(policy)).toMatchObject({
        Statement: [{ Principal: { AWS: role }, Action: "kms:*" }, { Action: expect.any(Array) as unknown }],
      });
    });

    it("says that a key was disabled, by the name that AWS has for it", async () => {
      await using keys = await open({ key_identifier_value: "disabled" });
      const key = await keys.generateKey("x509-CA-A", "ec-p256");
      const { aliases } = await cloud.ask<Account>({ do: "keys" });
      const target = aliases["alias/SPIRE_SERVER/example_org/disabled/x509-CA-A"];
      await cloud.ask({ do: "disable", key: target });
      const refused = async () => key.sign(Buffer.of(1), "der");
      await expect(refused()).rejects.toThrowCode("KEY_UNAVAILABLE", /^kms:Sign failed: \w+Exception/);
      warnings = [];
      await using again = await open({ key_identifier_value: "disabled" });
      expect(await again.listKeys()).toEqual([]);
      expect(warnings).toEqual(["a key in KMS cannot be used and is taken for lost"]);
    });

    it("says that nobody answers, and answers when somebody does", async () => {
      await using keys = await open({ key_identifier_value: "nobody", endpoint: "http://127.0.0.1:1" });
      await expect(keys.listKeys()).rejects.toThrowCode(
        "KEY_UNAVAILABLE",
        "kms:ListAliases failed: ECONNREFUSED",
      );
    });
  });
});

interface Account {
  readonly keys: readonly {
    readonly arn: string;
    readonly state: string;
    readonly tags: Readonly<Record<string, string>>;
    readonly policy: string;
  }[];
  readonly aliases: Readonly<Record<string, string>>;
}

async function open(settings: Readonly<Record<string, unknown>>): Promise<KeyManager> {
  const parsed = await awsKmsKeyManager.config["~standard"].validate({
    region: "eu-central-1",
    access_key_id: "AKIAEXAMPLE",
    secret_access_key_file: scratch.at("secret"),
    key_policy_file: scratch.at("policy.json"),
    endpoint,
    sts_endpoint: endpoint,
    packages_folder: packages,
    ...settings,
  });
  if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
  return awsKmsKeyManager.create(parsed.value, host);
}

function guarded(manager: KeyManager): KeyManager {
  return guardKeyManager(manager, {
    clock: systemClock,
    report: () => undefined,
    deadlines: { sign: 60_000, generate: 120_000, other: 60_000 },
  });
}
