import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { awsFailure, FakeKms } from "../../../test/fakes/aws-kms.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { PluginHost } from "../../plugin/host.ts";
import type { KeyManager } from "../../plugin/key-manager.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { awsKmsKeyManager, openAwsKms } from "./aws-kms.ts";

const folder = mkdtempSync(join(tmpdir(), "aws-kms-"));
afterAll(() => rmSync(folder, { recursive: true }));
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const SERVER = "alias/SPIRE_SERVER/example_org/server-1/";

let clock: FakeClock;
let kms: FakeKms;
let log: { level: string; message: string; fields: unknown }[];

beforeEach(() => {
  clock = new FakeClock();
  kms = new FakeKms(clock);
  log = [];
});

const shared = new FakeKms(new FakeClock());
keyManagerSuite("aws_kms", (place) => open({ key_identifier_value: place }, shared), { durable: true });

describe("awsKmsKeyManager", () => {
  it("names, describes and tags keys as SPIRE does", async () => {
    await using keys = await open({ enable_tag_based_key_discovery: true, key_tags: { team: "security" } });
    await keys.generateKey("x509-CA-A", "ec-p256");
    const [key] = [...kms.keys.values()];
    expect([...kms.aliases.keys()]).toEqual([`${SERVER}x509-CA-A`]);
    expect(key).toMatchObject({ description: "SPIRE_SERVER_KEY/example_org/x509-CA-A", policy: '{"a":1}' });
    expect(Object.fromEntries(key?.tags ?? [])).toEqual({
      "spire-server-td": "example.org",
      "spire-server-id": "server-1",
      "spire-active": "true",
      "spire-key-id": "x509-CA-A",
      "spire-last-update": String(clock.now() / 1000),
      team: "security",
    });
  });

  it("sets no tags unless told, which need a permission of their own", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    expect([...kms.keys.values()].map(({ tags }) => tags.size)).toEqual([0]);
  });

  it("finds the keys of a SPIRE server with its identifier, over many pages", async () => {
    await using before = await open();
    const made = await Promise.all(["a", "b", "c", "d", "e"].map((id) => before.generateKey(id, "ec-p256")));
    await using elsewhere = await open({ key_identifier_value: "server-10" });
    await elsewhere.generateKey("a", "ec-p384");
    await using after = await open();
    const found = await after.listKeys();
    expect(found.map(({ id }) => id)).toEqual(["a", "b", "c", "d", "e"]);
    expect(found.map(({ publicKey }) => publicKey)).toEqual(made.map(({ publicKey }) => publicKey));
    const data = Buffer.from("data");
    expect(isValid(made[0]!, data, await found[0]!.sign(data, "der"), "der")).toBe(true);
  });

  it("ignores aliases below its own that are no key ids", async () => {
    await using nested = await open({ key_identifier_value: "server-1/b" });
    await nested.generateKey("a", "ec-p256");
    await using keys = await open();
    expect(await keys.listKeys()).toEqual([]);
  });

  it("points the alias at the new key before it gives the old one up", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    const [old] = [...kms.keys.values()];
    kms.calls.length = 0;
    await keys.generateKey("a", "ec-p384");
    expect(kms.calls).toEqual(["CreateKey", "GetPublicKey", "UpdateAlias", "ScheduleKeyDeletion"]);
    expect(old?.state).toBe("PendingDeletion");
    expect(kms.keys.get(kms.aliases.get(`${SERVER}a`)?.target ?? "")?.spec).toBe("ECC_NIST_P384");
  });

  it("keeps the old key in use where the new one gets no alias, and destroys neither", async () => {
    await using keys = await open();
    const old = await keys.generateKey("a", "ec-p256");
    failOn("UpdateAlias", awsFailure("KMSInternalException", 500));
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^kms:UpdateAlias failed: KMSInternalException \(status 500, request 0f1e2d3c/,
    );
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["Enabled", "Enabled"]);
    expect(isValid(old, Buffer.of(1), await old.sign(Buffer.of(1), "der"), "der")).toBe(true);
    expect((await keys.getKey("a"))?.publicKey).toEqual(old.publicKey);
  });

  it("uses the new key where the old one cannot be given up yet", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    failOn("ScheduleKeyDeletion", awsFailure("ThrottlingException"));
    const key = await keys.generateKey("a", "ec-p256");
    expect((await keys.getKey("a"))?.publicKey).toEqual(key.publicKey);
    expect(log).toMatchObject([{ level: "warn", message: "a replaced key could not be given up yet" }]);
  });

  it("waits for a new key that KMS does not know yet", async () => {
    await using keys = await open();
    let unknown = 3;
    kms.fault = async (action) => {
      if (action !== "GetPublicKey" || unknown-- <= 0) return;
      setImmediate(() => void clock.advance(2000));
      throw awsFailure("NotFoundException");
    };
    await keys.generateKey("a", "ec-p256");
    expect(kms.calls.filter((call) => call === "GetPublicKey")).toHaveLength(4);
  });

  it("deletes a key with its alias, also one that somebody gave up before", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    const [key] = [...kms.keys.values()];
    key!.state = "PendingDeletion";
    kms.aliases.clear();
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
      await using before = await open();
      await before.generateKey("a", "ec-p256");
      const [key] = [...kms.keys.values()];
      Object.assign(key!, { state, spec, usage });
      await using after = await open();
      expect(await after.listKeys()).toEqual([]);
      expect(log).toMatchObject([
        { level: "warn", message: expect.stringContaining("taken for lost") as string },
      ]);
      await after.generateKey("a", "ec-p256");
      expect(kms.aliases.get(`${SERVER}a`)?.target).not.toBe(key?.arn);
      expect(key?.state).toBe(state);
    },
  );

  it("does not take a key for lost that only cannot be reached now", async () => {
    await using before = await open();
    await before.generateKey("a", "ec-p256");
    const [key] = [...kms.keys.values()];
    key!.state = "Unavailable";
    await using after = await open();
    await expect(after.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "key a is in state Unavailable");
    key!.state = "Enabled";
    expect(await after.listKeys()).toHaveLength(1);
  });

  it("refuses a public key of another type than KMS says", async () => {
    await using before = await open();
    await before.generateKey("a", "ec-p256");
    const [key] = [...kms.keys.values()];
    key!.pair = generateKeyPairSync("ec", { namedCurve: "P-384" });
    await using after = await open();
    expect(log).toHaveLength(1);
    await expect(after.getKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE", "key a must be ec-p256");
  });

  it("asks again where the first listing failed, without being opened anew", async () => {
    await using before = await open();
    await before.generateKey("a", "ec-p256");
    kms.fault = () => {
      throw Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
    };
    await using after = await open();
    expect(log).toMatchObject([{ level: "warn", message: "keys could not be listed yet" }]);
    await expect(after.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "kms:ListAliases failed: ECONNREFUSED",
    );
    kms.fault = undefined;
    expect(await after.listKeys()).toHaveLength(1);
  });

  it("ends nothing but the listing where a key cannot be described while pages are still to come", async () => {
    await using before = await open();
    for (const id of ["a", "b", "c", "d", "e"]) await before.generateKey(id, "ec-p256");
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    kms.fault = async (action) => {
      if (action === "DescribeKey") throw awsFailure("ThrottlingException");
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await using after = await open();
    await expect(after.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "ThrottlingException");
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });

  it("says why a key does not sign: disabled, gone, throttled", async () => {
    await using keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    const [held] = [...kms.keys.values()];
    held!.state = "Disabled";
    await expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "DisabledException");
    kms.keys.clear();
    await expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "NotFoundException");
  });

  it.each([
    ["PendingDeletion", false],
    [undefined, false],
    ["Disabled", true],
    ["Unavailable", true],
  ])("gives a key up that turns %s at runtime: not so %s", async (state, stays) => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    const [key] = [...kms.keys.values()];
    if (state === undefined) kms.keys.clear();
    else key!.state = state;
    clock.step(300_000);
    expect(await keys.getKey("a")).toBeDefined();
    clock.step(60_000);
    expect((await keys.getKey("a")) !== undefined).toBe(stays);
  });

  it("puts nothing of AWS's message into an error, which can quote a session token", async () => {
    await using keys = await open();
    failOn("CreateKey", awsFailure("InvalidSignatureException", 403, "x-amz-security-token:SECRET"));
    const error = await keys.generateKey("a", "ec-p256").catch((thrown: unknown) => thrown);
    const shown = `${String(error)} ${JSON.stringify(error)} ${String((error as Error).cause)}`;
    expect(shown).toContain("kms:CreateKey failed: InvalidSignatureException (status 403");
    expect(shown).not.toContain("SECRET");
  });

  it("gives up a call that is not answered, and tells the SDK", async () => {
    await using keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    const { promise: asked, resolve: ask } = Promise.withResolvers<AbortSignal>();
    kms.fault = (_, { abortSignal }) => {
      ask(abortSignal);
      return new Promise(() => undefined);
    };
    const signing = expect(key.sign(Buffer.of(1), "der")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "kms:Sign failed: no answer within 5000 ms",
    );
    const signal = await asked;
    await clock.advance(5000);
    await signing;
    expect(signal.aborted).toBe(true);
  });

  it("ends calls under way when it is closed", async () => {
    const keys = await open();
    kms.fault = () => new Promise(() => undefined);
    const making = expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "key manager is closed",
    );
    await keys[Symbol.asyncDispose]();
    await making;
    expect(kms.destroyed).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it("ends where pages never do", async () => {
    kms.listAliases = async () => ({ Aliases: [], Truncated: true, NextMarker: "1" });
    await using keys = await open();
    await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "more than 2000 pages");
  });
});

describe("the care of awsKmsKeyManager for keys", () => {
  it("refreshes aliases a minute after it was opened and every six hours", async () => {
    await using keys = await open({ enable_tag_based_key_discovery: true });
    await keys.generateKey("a", "ec-p256");
    const updated = () => kms.aliases.get(`${SERVER}a`)?.updated;
    const start = clock.now();
    await passed(61_000);
    expect(updated()).toBe(start + 60_000);
    await passed(6 * HOUR);
    expect(updated()).toBe(start + 60_000 + 6 * HOUR);
    const [key] = [...kms.keys.values()];
    expect(key?.tags.get("spire-last-update")).toBe(String((start + 60_000 + 6 * HOUR) / 1000));
  });

  it("leaves an alias alone that points at another key by now", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await using second = await open();
    await second.generateKey("a", "ec-p256");
    const target = kms.aliases.get(`${SERVER}a`)?.target;
    await passed(61_000);
    expect(kms.aliases.get(`${SERVER}a`)?.target).toBe(target);
    expect(log).toContainEqual({
      level: "error",
      message: expect.stringContaining("a second server runs with this key identifier") as string,
      fields: expect.objectContaining({ alias: `${SERVER}a`, key: target }) as unknown,
    });
  });

  it("gives up keys of servers of the trust domain that were silent for two weeks, and no others", async () => {
    await using dead = await open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using stranger = await open({ key_identifier_value: "dead" }, kms, "example.org.uk");
    await stranger.generateKey("a", "ec-p256");
    await stranger[Symbol.asyncDispose]();
    // Somebody's own key under an alias that looks like one of ours.
    const foreign = (
      await kms.createKey(
        { Description: "payroll", KeyUsage: "SIGN_VERIFY", KeySpec: "ECC_NIST_P256" },
        { abortSignal: new AbortController().signal },
      )
    ).KeyMetadata.Arn;
    kms.aliases.set("alias/SPIRE_SERVER/example_org/dead/b", { target: foreign ?? "", updated: 0 });
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await passed(13 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual([
      "Enabled",
      "Enabled",
      "Enabled",
      "Enabled",
    ]);
    await passed(3 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual([
      "PendingDeletion",
      "Enabled",
      "Enabled",
      "Enabled",
    ]);
    expect([...kms.aliases.keys()].toSorted()).toEqual([
      "alias/SPIRE_SERVER/example_org/dead/b",
      `${SERVER}a`,
      "alias/SPIRE_SERVER/example_org_uk/dead/a",
    ]);
  });

  it("gives up keys without alias after two days, never one that is in use", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await keys.generateKey("b", "ec-p256");
    failOn("UpdateAlias", awsFailure("KMSInternalException", 500));
    await keys.generateKey("a", "ec-p256").catch(() => undefined);
    const states = () => [...kms.keys.values()].map(({ state }) => state);
    await passed(97 * HOUR);
    expect(states()).toEqual(["Enabled", "Enabled", "Enabled"]);
    await passed(4 * HOUR);
    expect(states()).toEqual(["Enabled", "Enabled", "PendingDeletion"]);
  });

  it("points an alias at the key in use again that somebody removed, before others take it for left behind", async () => {
    await using keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    await using other = await open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    const [arn] = [...kms.keys.keys()];
    await passed(50 * HOUR - 1);
    kms.aliases.delete(`${SERVER}a`);
    await passed(120 * HOUR);
    expect(kms.aliases.get(`${SERVER}a`)?.target).toBe(arn);
    expect(log).toContainEqual(
      expect.objectContaining({ level: "error", message: expect.stringContaining("was removed") as string }),
    );
    expect(isValid(key, Buffer.of(1), await key.sign(Buffer.of(1), "der"), "der")).toBe(true);
    await using after = await open();
    expect((await after.getKey("a"))?.publicKey).toEqual(key.publicKey);
  });

  it("is not led to give keys up by a clock that jumps ahead", async () => {
    await using other = await open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    await other[Symbol.asyncDispose]();
    await using keys = await open();
    await keys.listKeys();
    clock.step(400 * DAY);
    await passed(2 * HOUR);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["Enabled"]);
  });

  it("goes by the time of KMS, not by a clock that was ahead when it was opened", async () => {
    await using live = await open({ key_identifier_value: "live" });
    await live.generateKey("a", "ec-p256");
    const ahead = { ...host(), clock: shifted(clock, 20 * DAY) };
    await using keys = await open({}, kms, "example.org", ahead);
    await keys.generateKey("a", "ec-p256");
    await passed(5 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["Enabled", "Enabled"]);
  });

  it("gives nothing up before KMS has told it the time by a key of its own", async () => {
    await using dead = await open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using keys = await open();
    await passed(20 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["Enabled"]);
    await keys.generateKey("a", "ec-p256");
    await passed(3 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["PendingDeletion", "Enabled"]);
  });

  it("leaves a server a day to come back after all were away", async () => {
    await using late = await open({ key_identifier_value: "late" });
    await late.generateKey("a", "ec-p256");
    await late[Symbol.asyncDispose]();
    clock.step(20 * DAY);
    await using first = await open();
    await first.generateKey("a", "ec-p256");
    await passed(20 * HOUR);
    await using again = await open({ key_identifier_value: "late" });
    await again.listKeys();
    await passed(3 * DAY);
    expect([...kms.keys.values()].map(({ state }) => state)).toEqual(["Enabled", "Enabled"]);
  });

  it("goes on after a chore has failed", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    failOn("UpdateAlias", awsFailure("AccessDeniedException"));
    await passed(61_000);
    expect(log).toMatchObject([{ level: "warn", message: "a chore of the key manager failed" }]);
    await passed(6 * HOUR);
    expect(kms.aliases.get(`${SERVER}a`)?.updated).toBe(clock.now() - 1000);
  });
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
    ["an endpoint in the clear", { ...good, endpoint: "http://kms.example.org" }],
    ["an endpoint with a password", { ...good, sts_endpoint: "https://a:b@sts.example.org" }],
  ])("refuse %s", async (_, settings) => {
    expect((await awsKmsKeyManager.config["~standard"].validate(settings)).issues).toBeDefined();
  });

  it("make the identifier's file once, and take SPIRE's", async () => {
    const file = join(folder, "identifier");
    await using first = await open({ key_identifier_file: file, key_identifier_value: undefined });
    await first.generateKey("a", "ec-p256");
    const id = readFileSync(file, "utf8");
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect([...kms.aliases.keys()]).toEqual([`alias/SPIRE_SERVER/example_org/${id}/a`]);
    await using second = await open({ key_identifier_file: file, key_identifier_value: undefined });
    expect(await second.listKeys()).toHaveLength(1);
    writeFileSync(file, "not a uuid");
    await expect(open({ key_identifier_file: file, key_identifier_value: undefined })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /identifier must hold a UUID/,
    );
  });

  it.each([{ key_identifier_value: undefined }, { key_identifier_file: "/x" }])(
    "want one identifier and no more: %j",
    async (settings) => {
      await expect(open(settings)).rejects.toThrowCode("CONFIG_INVALID", /exactly one of/);
    },
  );

  it("refuse names that no alias has room for", async () => {
    await expect(
      open({ key_identifier_value: "i".repeat(128) }, kms, `${"a".repeat(63)}.${"b".repeat(63)}`),
    ).rejects.toThrowCode("CONFIG_INVALID", /256 characters/);
  });

  it("say which package is missing and how to get it", async () => {
    const parsed = await awsKmsKeyManager.config["~standard"].validate({ ...good, packages_folder: folder });
    if (parsed.issues !== undefined) throw new Error("refused");
    await expect((async () => awsKmsKeyManager.create(parsed.value, host()))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install @aws-sdk\/client-kms/,
    );
  });
});

async function open(
  settings: Readonly<Record<string, unknown>> = {},
  client = kms,
  trustDomain = "example.org",
  by = host(trustDomain),
): Promise<KeyManager> {
  const given = { region: "eu-central-1", key_identifier_value: "server-1", ...settings };
  const parsed = await awsKmsKeyManager.config["~standard"].validate(given);
  if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
  return openAwsKms(parsed.value, by, client, async () => '{"a":1}');
}

function host(trustDomain = "example.org"): PluginHost {
  const note = (level: string) => (message: string, fields?: unknown) =>
    void log.push({ level, message, fields });
  return {
    trustDomain: parseTrustDomain(trustDomain),
    clock: clock ?? new FakeClock(),
    log: { debug() {}, info: note("info"), warn: note("warn"), error: note("error") },
  };
}

/** A clock that is ahead of another. */
function shifted(other: FakeClock, milliseconds: number): PluginHost["clock"] {
  return {
    now: () => other.now() + milliseconds,
    schedule: (delay, callback) => other.schedule(delay, callback),
  };
}

/** The next call of this action fails. */
function failOn(action: string, error: Error): void {
  kms.fault = (called) => {
    if (called !== action) return;
    kms.fault = undefined;
    throw error;
  };
}

/** Time passes in steps, each with room for what the wake-ups start. */
async function passed(milliseconds: number): Promise<void> {
  const step = Math.min(HOUR, milliseconds);
  for (let gone = 0; gone < milliseconds; gone += step) {
    await clock.advance(step);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}
