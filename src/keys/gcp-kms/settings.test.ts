import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { GcpKmsBench, RING } from "../../../test/fakes/gcp-kms-bench.ts";
import { acceptedConfig, recordingHost } from "../../../test/fakes/plugin-host.ts";
import { gcpKmsKeyManager } from "./gcp-kms.ts";

const folder = mkdtempSync(join(tmpdir(), "gcp-kms-"));
afterAll(() => rmSync(folder, { recursive: true }));

let bench: GcpKmsBench;
beforeEach(async () => {
  bench = await GcpKmsBench.start();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("the settings of gcpKmsKeyManager", () => {
  const good = { key_ring: RING, key_identifier_value: "server-1" };

  it.each([
    ["no key ring", { key_identifier_value: "a" }],
    ["a key ring with a slash too many", { ...good, key_ring: `${RING}/` }],
    ["a key ring that climbs", { ...good, key_ring: "projects/../locations/x/keyRings/y" }],
    ["an identifier in capitals", { ...good, key_identifier_value: "A" }],
    ["an identifier that leaves no room", { ...good, key_identifier_value: "a".repeat(41) }],
    ["an unknown key", { ...good, key_metadata_file: "x" }],
  ])("refuse %s", async (_, settings) => {
    const { issues } = await gcpKmsKeyManager.config["~standard"].validate(settings);
    expect(issues).toBeDefined();
  });

  it.each([
    "http://bench.kms.example.org",
    "https://bench.kms.example.org/v1/x",
    "https://user@bench.kms.example.org",
    "kms",
  ])("refuse the endpoint %s", async (endpoint) => {
    await expect((async () => bench.open({ endpoint }))()).rejects.toThrowCode("CONFIG_INVALID", /endpoint/);
  });

  it.each(["{}", "[]", "null", "x", '{"version":1,"bindings":[]}'])(
    "refuse the policy %s",
    async (content) => {
      const file = join(folder, "bad.json");
      writeFileSync(file, content);
      await expect(bench.open({ key_policy_file: file })).rejects.toThrowCode("CONFIG_INVALID", /version 3/);
    },
  );

  it("say which package is missing and how to get it", async () => {
    const config = await acceptedConfig(gcpKmsKeyManager, { ...good, packages_folder: folder });
    const host = recordingHost(bench.clock, "example.org", bench.log);
    await expect((async () => gcpKmsKeyManager.create(config, host))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install google-auth-library/,
    );
  });
});
