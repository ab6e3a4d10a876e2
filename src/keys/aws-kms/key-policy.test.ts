import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { awsFailure } from "../../../test/fakes/aws-kms.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { StsClient } from "../../cloud/aws/sts.ts";
import type { PluginLog } from "../../plugin/host.ts";
import { defaultKeyPolicy, readKeyPolicy } from "./key-policy.ts";

const folder = mkdtempSync(join(tmpdir(), "key-policy-"));
afterAll(() => rmSync(folder, { recursive: true }));
let warnings: string[];
const log: PluginLog = { debug() {}, info() {}, warn: (message) => void warnings.push(message), error() {} };
beforeEach(() => {
  warnings = [];
});

describe("readKeyPolicy", () => {
  it("gives the operator's policy as it is", async () => {
    const file = join(folder, "policy.json");
    writeFileSync(file, '{ "Version": "2012-10-17" }\n');
    expect(await readKeyPolicy(file)).toBe('{ "Version": "2012-10-17" }\n');
  });

  it.each(["", "[]", "null", "{", '"x"', "x".repeat(32_769)])(
    "refuses what is no policy: %j",
    async (text) => {
      const file = join(folder, "bad.json");
      writeFileSync(file, text);
      await expect(readKeyPolicy(file)).rejects.toThrowCode("CONFIG_INVALID", /bad\.json/);
    },
  );
});

describe("defaultKeyPolicy", () => {
  it.each(["aws", "aws-us-gov", "aws-cn"])(
    "lets in the role that the server runs as, in partition %s",
    async (partition) => {
      const policy = policyFor(`arn:${partition}:sts::111122223333:assumed-role/assay-server/i-0123`);
      const text = (await policy()) ?? "";
      const { Version, Statement } = JSON.parse(text) as { Version: string; Statement: unknown[] };
      expect(Version).toBe("2012-10-17");
      expect(Statement).toMatchObject([
        {
          Effect: "Allow",
          Principal: { AWS: `arn:${partition}:iam::111122223333:role/assay-server` },
          Action: "kms:*",
        },
        {
          Effect: "Allow",
          Principal: { AWS: `arn:${partition}:iam::111122223333:root` },
          Action: ["kms:Describe*", "kms:List*", "kms:Get*"],
        },
      ]);
      expect(Statement).toHaveLength(2);
      expect(warnings).toEqual([]);
    },
  );

  it.each([
    "arn:aws:iam::111122223333:user/somebody",
    "arn:aws:iam::111122223333:root",
    "*",
    'arn:aws:sts::1:assumed-role/"/x',
  ])("leaves the policy to KMS, and warns, where the server is %s", async (arn) => {
    expect(await policyFor(arn)()).toBeUndefined();
    expect(warnings).toEqual(["the server runs as no IAM role, so its keys get the default policy of KMS"]);
  });

  it("asks once who the server is, and again where that failed", async () => {
    let asked = 0;
    const policy = policyFor(() => {
      if (asked++ === 0) throw awsFailure("ExpiredTokenException", 403);
      return "arn:aws:sts::111122223333:assumed-role/a/b";
    });
    await expect(policy()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "sts:GetCallerIdentity failed: ExpiredToken",
    );
    await policy();
    await policy();
    expect(asked).toBe(2);
  });
});

function policyFor(arn: string | (() => string)) {
  const sts: StsClient = {
    assumeRole: async () => ({}),
    getCallerIdentity: async () => ({ Arn: typeof arn === "string" ? arn : arn() }),
    destroy() {},
  };
  return defaultKeyPolicy(sts, new FakeClock(), log);
}
