import { generateKeyPairSync } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { awsFailure } from "../../../test/fakes/aws-kms.ts";
import { AwsKmsBench, SERVER } from "../../../test/fakes/aws-kms-bench.ts";

let bench: AwsKmsBench;
beforeEach(() => {
  bench = new AwsKmsBench();
});

const shared = new AwsKmsBench();
keyManagerSuite("aws_kms", (place) => shared.open({ key_identifier_value: place }), { durable: true });

describe("awsKmsKeyManager", () => {
  it("names, describes and tags keys as SPIRE does", async () => {
    await using keys = await bench.open({
      enable_tag_based_key_discovery: true,
      key_tags: { team: "security" },
    });
    await keys.generateKey("x509-CA-A", "ec-p256");
    const [key] = bench.keys;
    expect([...bench.kms.aliases.keys()]).toEqual([`${SERVER}x509-CA-A`]);
    expect(key).toMatchObject({ description: "SPIRE_SERVER_KEY/example_org/x509-CA-A", policy: '{"a":1}' });
    expect(Object.fromEntries(key?.tags ?? [])).toEqual({
      "spire-server-td": "example.org",
      "spire-server-id": "server-1",
      "spire-active": "true",
      "spire-key-id": "x509-CA-A",
      "spire-last-update": String(bench.clock.now() / 1000),
      team: "security",
    });
  });

  it("sets no tags unless told, which need a permission of their own", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    expect(bench.keys.map(({ tags }) => tags.size)).toEqual([0]);
  });

  it("finds the keys of a SPIRE server with its identifier, over many pages", async () => {
    await using before = await bench.open();
    const made = await Promise.all(["a", "b", "c", "d", "e"].map((id) => before.generateKey(id, "ec-p256")));
    await using elsewhere = await bench.open({ key_identifier_value: "server-10" });
    await elsewhere.generateKey("a", "ec-p384");
    await using after = await bench.open();
    const found = await after.listKeys();
    expect(found.map(({ id }) => id)).toEqual(["a", "b", "c", "d", "e"]);
    expect(found.map(({ publicKey }) => publicKey)).toEqual(made.map(({ publicKey }) => publicKey));
    const data = Buffer.from("data");
    expect(isValid(made[0]!, data, await found[0]!.sign(data, "der"), "der")).toBe(true);
  });

  it("ignores aliases below its own that are no key ids", async () => {
    await using nested = await bench.open({ key_identifier_value: "server-1/b" });
    await nested.generateKey("a", "ec-p256");
    await using keys = await bench.open();
    expect(await keys.listKeys()).toEqual([]);
  });

  it("points the alias at the new key before it gives the old one up", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    const [old] = bench.keys;
    bench.kms.calls.length = 0;
    await keys.generateKey("a", "ec-p384");
    expect(bench.kms.calls).toEqual(["CreateKey", "GetPublicKey", "UpdateAlias", "ScheduleKeyDeletion"]);
    expect(old?.state).toBe("PendingDeletion");
    expect(bench.kms.keys.get(bench.kms.aliases.get(`${SERVER}a`)?.target ?? "")?.spec).toBe("ECC_NIST_P384");
  });

  it("keeps the old key in use where the new one gets no alias, and destroys neither", async () => {
    await using keys = await bench.open();
    const old = await keys.generateKey("a", "ec-p256");
    bench.failOn("UpdateAlias", awsFailure("KMSInternalException", 500));
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^kms:UpdateAlias failed: KMSInternalException \(status 500, request 0f1e2d3c/,
    );
    expect(bench.states).toEqual(["Enabled", "Enabled"]);
    expect(isValid(old, Buffer.of(1), await old.sign(Buffer.of(1), "der"), "der")).toBe(true);
    expect((await keys.getKey("a"))?.publicKey).toEqual(old.publicKey);
  });

  it("uses the new key where the old one cannot be given up yet", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    bench.failOn("ScheduleKeyDeletion", awsFailure("ThrottlingException"));
    const key = await keys.generateKey("a", "ec-p256");
    expect((await keys.getKey("a"))?.publicKey).toEqual(key.publicKey);
    expect(bench.log).toMatchObject([{ level: "warn", message: "a replaced key could not be given up yet" }]);
  });

  it("waits for a new key that KMS does not know yet", async () => {
    await using keys = await bench.open();
    let unknown = 3;
    bench.kms.fault = async (action) => {
      if (action !== "GetPublicKey" || unknown-- <= 0) return;
      setImmediate(() => void bench.clock.advance(2000));
      throw awsFailure("NotFoundException");
    };
    await keys.generateKey("a", "ec-p256");
    expect(bench.kms.calls.filter((call) => call === "GetPublicKey")).toHaveLength(4);
  });

  it("deletes a key with its alias, also one that somebody gave up before", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    const [key] = bench.keys;
    key!.state = "PendingDeletion";
    bench.kms.aliases.clear();
    await keys.deleteKey("a");
    expect(await keys.getKey("a")).toBeUndefined();
  });

  it.each([
    ["PendingDeletion", "ECC_NIST_P256", "SIGN_VERIFY"],
    ["Disabled", "ECC_NIST_P256", "SIGN_VERIFY"],
    ["Enabled", "ECC_NIST_P521", "SIGN_VERIFY"],
    ["Enabled", "ECC_NIST_P256", "KEY_AGREEMENT"],
  ])(
    "takes a key in state %s of spec %s for %s for lost, says so, and makes another",
    async (state, spec, usage) => {
      await using before = await bench.open();
      await before.generateKey("a", "ec-p256");
      const [key] = bench.keys;
      Object.assign(key!, { state, spec, usage });
      await using after = await bench.open();
      expect(await after.listKeys()).toEqual([]);
      expect(bench.log).toMatchObject([
        { level: "warn", message: expect.stringContaining("taken for lost") as string },
      ]);
      await after.generateKey("a", "ec-p256");
      expect(bench.kms.aliases.get(`${SERVER}a`)?.target).not.toBe(key?.arn);
      expect(key?.state).toBe(state);
    },
  );

  it("does not take a key for lost that only cannot be reached now", async () => {
    await using before = await bench.open();
    await before.generateKey("a", "ec-p256");
    const [key] = bench.keys;
    key!.state = "Unavailable";
    await using after = await bench.open();
    await expect(after.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "key a is in state Unavailable");
    key!.state = "Enabled";
    expect(await after.listKeys()).toHaveLength(1);
  });

  it("refuses a public key of another type than KMS says", async () => {
    await using before = await bench.open();
    await before.generateKey("a", "ec-p256");
    const [key] = bench.keys;
    key!.pair = generateKeyPairSync("ec", { namedCurve: "P-384" });
    await using after = await bench.open();
    expect(bench.log).toHaveLength(1);
    await expect(after.getKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE", "key a must be ec-p256");
  });

  it("asks again where the first listing failed, without being opened anew", async () => {
    await using before = await bench.open();
    await before.generateKey("a", "ec-p256");
    bench.kms.fault = () => {
      throw Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
    };
    await using after = await bench.open();
    expect(bench.log).toMatchObject([{ level: "warn", message: "keys could not be listed yet" }]);
    await expect(after.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "kms:ListAliases failed: ECONNREFUSED",
    );
    bench.kms.fault = undefined;
    expect(await after.listKeys()).toHaveLength(1);
  });

  it("ends nothing but the listing where a key cannot be described while pages are still to come", async () => {
    await using before = await bench.open();
    for (const id of ["a", "b", "c", "d", "e"]) await before.generateKey(id, "ec-p256");
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    bench.kms.fault = async (action) => {
      if (action === "DescribeKey") throw awsFailure("ThrottlingException");
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await using after = await bench.open();
    await expect(after.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "ThrottlingException");
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });

  it("says why a key does not sign: disabled, gone, throttled", async () => {
    await using keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    const [held] = bench.keys;
    held!.state = "Disabled";
    await expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "DisabledException");
    bench.kms.keys.clear();
    await expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "NotFoundException");
  });

  it.each([
    ["PendingDeletion", false],
    [undefined, false],
    ["Disabled", true],
    ["Unavailable", true],
  ])("gives a key up that turns %s at runtime: not so %s", async (state, stays) => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    const [key] = bench.keys;
    if (state === undefined) bench.kms.keys.clear();
    else key!.state = state;
    bench.clock.step(300_000);
    expect(await keys.getKey("a")).toBeDefined();
    bench.clock.step(60_000);
    expect((await keys.getKey("a")) !== undefined).toBe(stays);
  });

  it("puts nothing of AWS's message into an error, which can quote a session token", async () => {
    await using keys = await bench.open();
    bench.failOn("CreateKey", awsFailure("InvalidSignatureException", 403, "x-amz-security-token:SECRET"));
    const error = await keys.generateKey("a", "ec-p256").catch((thrown: unknown) => thrown);
    const shown = `${String(error)} ${JSON.stringify(error)} ${String((error as Error).cause)}`;
    expect(shown).toContain("kms:CreateKey failed: InvalidSignatureException (status 403");
    expect(shown).not.toContain("SECRET");
  });

  it("gives up a call that is not answered, and tells the SDK", async () => {
    await using keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    const { promise: asked, resolve: ask } = Promise.withResolvers<AbortSignal>();
    bench.kms.fault = (_, { abortSignal }) => {
      ask(abortSignal);
      return new Promise(() => undefined);
    };
    const signing = expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "kms:Sign failed: no answer within 5000 ms",
    );
    const signal = await asked;
    await bench.clock.advance(5000);
    await signing;
    expect(signal.aborted).toBe(true);
  });

  it("ends calls under way when it is closed", async () => {
    const keys = await bench.open();
    bench.kms.fault = () => new Promise(() => undefined);
    const making = expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "key manager is closed",
    );
    await keys[Symbol.asyncDispose]();
    await making;
    expect(bench.kms.destroyed).toBe(true);
    expect(bench.clock.pending).toBe(0);
  });

  it("ends where pages never do", async () => {
    bench.kms.listAliases = async () => ({ Aliases: [], Truncated: true, NextMarker: "1" });
    await using keys = await bench.open();
    await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "more than 2000 pages");
  });
});
