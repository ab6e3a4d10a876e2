import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { AwsKmsBench } from "../../../test/fakes/aws-kms-bench.ts";
import { acceptedConfig, recordingHost } from "../../../test/fakes/plugin-host.ts";
import { awsKmsKeyManager } from "./aws-kms.ts";

const folder = mkdtempSync(join(tmpdir(), "aws-kms-"));
afterAll(() => rmSync(folder, { recursive: true }));

let bench: AwsKmsBench;
beforeEach(() => {
  bench = new AwsKmsBench();
});

describe("the settings of awsKmsKeyManager", () => {
  const good = { region: "eu-central-1", key_identifier_value: "server-1" };

  it.each([
    ["no region", { key_identifier_value: "a" }],
    ["a secret in the text", { ...good, access_key_id: "AKIA", secret_access_key: "x" }],
    ["a key identifier with a dot", { ...good, key_identifier_value: "a.b" }],
    ["a key identifier with an empty segment", { ...good, key_identifier_value: "a//b" }],
    ["a tag of SPIRE's", { ...good, key_tags: { "spire-active": "false" } }],
    ["a tag of AWS's", { ...good, key_tags: { "AWS:x": "1" } }],
    ["a tag with a line feed", { ...good, key_tags: { a: "*" } }],
    ["an endpoint that is no URL", { ...good, endpoint: "kms" }],
    ["an endpoint in the clear", { ...good, endpoint: "http://bench.kms.example.org" }],
    ["an endpoint with a password", { ...good, sts_endpoint: "https://a:b@sts.example.org" }],
  ])("refuse %s", async (_, settings) => {
    expect((await awsKmsKeyManager.config["~standard"].validate(settings)).issues).toBeDefined();
  });

  it("make the identifier's file once, and take SPIRE's", async () => {
    const file = join(folder, "identifier");
    await using first = await bench.open({ key_identifier_file: file, key_identifier_value: undefined });
    await first.generateKey("a", "ec-p256");
    const id = readFileSync(file, "utf8");
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect([...bench.kms.aliases.keys()]).toEqual([`alias/SPIRE_SERVER/example_org/${id}/a`]);
    await using second = await bench.open({ key_identifier_file: file, key_identifier_value: undefined });
    expect(await second.listKeys()).toHaveLength(1);
    writeFileSync(file, "not a uuid");
    await expect(
      bench.open({ key_identifier_file: file, key_identifier_value: undefined }),
    ).rejects.toThrowCode("CONFIG_INVALID", /identifier must hold a UUID/);
  });

  it.each([{ key_identifier_value: undefined }, { key_identifier_file: "/x" }])(
    "want one identifier and no more: %j",
    async (settings) => {
      await expect(bench.open(settings)).rejects.toThrowCode("CONFIG_INVALID", /exactly one of/);
    },
  );

  it("refuse names that no alias has room for", async () => {
    await expect(
      bench.open(
        { key_identifier_value: "i".repeat(128) },
        { trustDomain: `${"a".repeat(63)}.${"b".repeat(63)}` },
      ),
    ).rejects.toThrowCode("CONFIG_INVALID", /256 characters/);
  });

  it("say which package is missing and how to get it", async () => {
    const config = await acceptedConfig(awsKmsKeyManager, { ...good, packages_folder: folder });
    const host = recordingHost(bench.clock, "example.org", bench.log);
    await expect((async () => awsKmsKeyManager.create(config, host))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install @aws-sdk\/client-kms/,
    );
  });
});
