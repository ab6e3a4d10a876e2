import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { awsFailure } from "../../../test/fakes/aws-kms.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { DeadlinePassed } from "../deadline.ts";
import { awsClientConfig } from "./aws-client-config.ts";
import { awsError, awsErrorName, isPassing } from "./aws-error.ts";

const folder = mkdtempSync(join(tmpdir(), "aws-"));
afterAll(() => rmSync(folder, { recursive: true }));
let clock: FakeClock;
beforeEach(() => {
  clock = new FakeClock();
});
const region = "eu-central-1";

describe("awsClientConfig", () => {
  it("leaves credentials to the SDK unless told", async () => {
    expect(await awsClientConfig({ region }, clock)).toEqual({
      region,
      maxAttempts: 3,
      retryMode: "standard",
    });
    expect(await awsClientConfig({ region, endpoint: "http://127.0.0.1:1" }, clock)).toMatchObject({
      endpoint: "http://127.0.0.1:1",
    });
  });

  it("reads the secret from its file, anew each time it is asked", async () => {
    const secretAccessKeyFile = join(folder, "secret");
    writeFileSync(secretAccessKeyFile, "first\n", { mode: 0o600 });
    const { credentials } = await awsClientConfig(
      { region, accessKeyId: "AKIA", secretAccessKeyFile },
      clock,
    );
    expect(await credentials?.()).toEqual({
      accessKeyId: "AKIA",
      secretAccessKey: "first",
      expiration: new Date(clock.now() + 600_000),
    });
    writeFileSync(secretAccessKeyFile, "second");
    expect(await credentials?.()).toMatchObject({ secretAccessKey: "second" });
  });

  it("refuses half a pair, a file that is absent and one that is empty", async () => {
    const empty = join(folder, "empty");
    writeFileSync(empty, "\n", { mode: 0o600 });
    const secretAccessKeyFile = join(folder, "absent");
    const open = join(folder, "open");
    writeFileSync(open, "secret");
    chmodSync(open, 0o604);
    for (const [settings, reason] of [
      [{ region, accessKeyId: "AKIA" }, /together/],
      [{ region, secretAccessKeyFile }, /together/],
      [{ region, accessKeyId: "AKIA", secretAccessKeyFile }, /absent/],
      [{ region, accessKeyId: "AKIA", secretAccessKeyFile: empty }, /is empty/],
      [
        { region, accessKeyId: "AKIA", secretAccessKeyFile: open },
        /has mode 0604, so others could have read it/,
      ],
    ] as const) {
      await expect(awsClientConfig(settings, clock)).rejects.toThrowCode("CONFIG_INVALID", reason);
    }
  });

  it("assumes a role as the plugin's own identity, and asks for it again each time", async () => {
    const packagesFolder = fakeSts(`
      let asked = 0;
      exports.seen = [];
      exports.STS = class {
        constructor(config) { this.config = config; }
        async assumeRole(input) {
          const own = await this.config.credentials();
          return { Credentials: {
            AccessKeyId: own.accessKeyId + this.config.endpoint + input.RoleArn + input.RoleSessionName,
            SecretAccessKey: "s" + ++asked, SessionToken: "t", Expiration: new Date(5) } };
        }
      };`);
    const secretAccessKeyFile = join(folder, "own");
    writeFileSync(secretAccessKeyFile, "own", { mode: 0o640 });
    const { credentials } = await awsClientConfig(
      {
        region,
        endpoint: "http://kms",
        stsEndpoint: "http://sts",
        accessKeyId: "AKIA",
        secretAccessKeyFile,
        assumeRoleArn: "arn:role",
        packagesFolder,
      },
      clock,
    );
    expect(await credentials?.()).toEqual({
      accessKeyId: "AKIAhttp://stsarn:roleassay",
      secretAccessKey: "s1",
      sessionToken: "t",
      expiration: new Date(5),
    });
    expect(await credentials?.()).toMatchObject({ secretAccessKey: "s2" });
  });

  it.each([
    [
      "refuses",
      'throw Object.assign(new Error("SECRET"), { name: "AccessDenied" });',
      /sts:AssumeRole failed: AccessDenied$/,
    ],
    ["says nothing", "return {};", /gave no credentials/],
  ])("says so where STS %s", async (_, answer, reason) => {
    const packagesFolder = fakeSts(`exports.STS = class { async assumeRole() { ${answer} } };`);
    const { credentials } = await awsClientConfig(
      { region, assumeRoleArn: "arn:role", packagesFolder },
      clock,
    );
    await expect(credentials?.()).rejects.toThrowCode("REMOTE_UNAVAILABLE", reason);
  });

  it("names the package that assuming a role needs", async () => {
    await expect(
      awsClientConfig({ region, assumeRoleArn: "arn:role", packagesFolder: folder }, clock),
    ).rejects.toThrowCode("CONFIG_INVALID", /@aws-sdk\/client-sts/);
  });
});

describe("awsError", () => {
  it.each([
    [
      awsFailure("ThrottlingException"),
      "kms:Sign failed: ThrottlingException (status 400, request 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0)",
    ],
    [Object.assign(new Error("x"), { code: "ECONNRESET" }), "kms:Sign failed: ECONNRESET"],
    [Object.assign(new Error("x"), { name: "a\nb" }), "kms:Sign failed: unknown reason"],
    [new DeadlinePassed(5000), "kms:Sign failed: no answer within 5000 ms"],
    [
      new AssayError("REMOTE_UNAVAILABLE", "sts:AssumeRole failed: AccessDenied"),
      "kms:Sign failed: sts:AssumeRole failed: AccessDenied",
    ],
    ["thrown text", "kms:Sign failed: unknown reason"],
    [undefined, "kms:Sign failed: unknown reason"],
  ])("says what failed and why of %s, in names only", (error, detail) => {
    const { code, detail: said, cause } = awsError("KEY_UNAVAILABLE", "kms:Sign", error);
    expect({ code, said, cause }).toEqual({ code: "KEY_UNAVAILABLE", said: detail, cause: undefined });
  });

  it.each([
    [awsFailure("ThrottlingException"), true],
    [awsFailure("RequestInProgressException"), true],
    [awsFailure("InternalFailure", 500), true],
    [new DeadlinePassed(1), true],
    [awsFailure("AccessDeniedException"), false],
    [awsFailure("MalformedCSRException"), false],
  ])("knows whether %s passes: %s", (error, passes) => {
    expect(isPassing(error)).toBe(passes);
  });

  it("finds a name in whatever was thrown", () => {
    expect(awsErrorName(new TypeError("x"))).toBe("TypeError");
    expect(awsErrorName(Object.assign(new AggregateError([]), { code: "ECONNREFUSED" }))).toBe(
      "ECONNREFUSED",
    );
  });
});

let packages = 0;
function fakeSts(code: string): string {
  const place = join(folder, `packages-${packages++}`);
  const sts = join(place, "node_modules", "@aws-sdk", "client-sts");
  mkdirSync(sts, { recursive: true });
  writeFileSync(join(sts, "package.json"), '{"name":"@aws-sdk/client-sts","main":"index.cjs"}');
  writeFileSync(join(sts, "index.cjs"), code);
  return place;
}
