import { beforeEach, describe, expect, it } from "vitest";
import { isValid } from "../../../test/contract/key-manager-suite.ts";
import { awsFailure } from "../../../test/fakes/aws-kms.ts";
import { AwsKmsBench, SERVER } from "../../../test/fakes/aws-kms-bench.ts";
import type { Clock } from "../../clock.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let bench: AwsKmsBench;
beforeEach(() => {
  bench = new AwsKmsBench();
});

describe("the care of awsKmsKeyManager for keys", () => {
  it("refreshes aliases a minute after it was opened and every six hours", async () => {
    await using keys = await bench.open({ enable_tag_based_key_discovery: true });
    await keys.generateKey("a", "ec-p256");
    const updated = () => bench.kms.aliases.get(`${SERVER}a`)?.updated;
    const start = bench.clock.now();
    await bench.passed(61_000);
    expect(updated()).toBe(start + 60_000);
    await bench.passed(6 * HOUR);
    expect(updated()).toBe(start + 60_000 + 6 * HOUR);
    const [key] = bench.keys;
    expect(key?.tags.get("spire-last-update")).toBe(String((start + 60_000 + 6 * HOUR) / 1000));
  });

  it("leaves an alias alone that points at another key by now", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await using second = await bench.open();
    await second.generateKey("a", "ec-p256");
    const target = bench.kms.aliases.get(`${SERVER}a`)?.target;
    await bench.passed(61_000);
    expect(bench.kms.aliases.get(`${SERVER}a`)?.target).toBe(target);
    expect(bench.log).toContainEqual({
      level: "error",
      message: expect.stringContaining("a second server runs with this key identifier") as string,
      fields: expect.objectContaining({ alias: `${SERVER}a`, key: target }) as unknown,
    });
  });

  it("gives up keys of servers of the trust domain that were silent for two weeks, and no others", async () => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using stranger = await bench.open(
      { key_identifier_value: "dead" },
      { trustDomain: "example.org.uk" },
    );
    await stranger.generateKey("a", "ec-p256");
    await stranger[Symbol.asyncDispose]();
    // Somebody's own key under an alias that looks like one of ours.
    const foreign = (
      await bench.kms.createKey(
        { Description: "payroll", KeyUsage: "SIGN_VERIFY", KeySpec: "ECC_NIST_P256" },
        { abortSignal: new AbortController().signal },
      )
    ).KeyMetadata.Arn;
    bench.kms.aliases.set("alias/SPIRE_SERVER/example_org/dead/b", { target: foreign ?? "", updated: 0 });
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await bench.passed(13 * DAY);
    expect(bench.states).toEqual(["Enabled", "Enabled", "Enabled", "Enabled"]);
    await bench.passed(3 * DAY);
    expect(bench.states).toEqual(["PendingDeletion", "Enabled", "Enabled", "Enabled"]);
    expect([...bench.kms.aliases.keys()].toSorted()).toEqual([
      "alias/SPIRE_SERVER/example_org/dead/b",
      `${SERVER}a`,
      "alias/SPIRE_SERVER/example_org_uk/dead/a",
    ]);
  });

  it("gives up keys without alias after two days, never one that is in use", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await keys.generateKey("b", "ec-p256");
    bench.failOn("UpdateAlias", awsFailure("KMSInternalException", 500));
    await keys.generateKey("a", "ec-p256").catch(() => undefined);
    await bench.passed(61 * HOUR);
    expect(bench.states).toEqual(["Enabled", "Enabled", "Enabled"]);
    await bench.passed(2 * HOUR);
    expect(bench.states).toEqual(["Enabled", "Enabled", "PendingDeletion"]);
  });

  it("points an alias at the key in use again that somebody removed, before others take it for left behind", async () => {
    await using keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    await using other = await bench.open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    const [arn] = [...bench.kms.keys.keys()];
    await bench.passed(50 * HOUR - 1);
    bench.kms.aliases.delete(`${SERVER}a`);
    await bench.passed(120 * HOUR);
    expect(bench.kms.aliases.get(`${SERVER}a`)?.target).toBe(arn);
    expect(bench.log).toContainEqual(
      expect.objectContaining({ level: "error", message: expect.stringContaining("was removed") as string }),
    );
    expect(isValid(key, Buffer.of(1), await key.sign(Buffer.of(1), "der"), "der")).toBe(true);
    await using after = await bench.open();
    expect((await after.getKey("a"))?.publicKey).toEqual(key.publicKey);
  });

  it("is not led to give keys up by a clock that jumps ahead", async () => {
    await using other = await bench.open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    await other[Symbol.asyncDispose]();
    await using keys = await bench.open();
    await keys.listKeys();
    bench.clock.step(400 * DAY);
    await bench.passed(2 * HOUR);
    expect(bench.states).toEqual(["Enabled"]);
  });

  it("goes by the time of KMS, not by a clock that was ahead when it was opened", async () => {
    await using live = await bench.open({ key_identifier_value: "live" });
    await live.generateKey("a", "ec-p256");
    await using keys = await bench.open({}, { clock: shifted(bench.clock, 20 * DAY) });
    await keys.generateKey("a", "ec-p256");
    await bench.passed(5 * DAY);
    expect(bench.states).toEqual(["Enabled", "Enabled"]);
  });

  it("gives nothing up before KMS has told it the time by a key of its own", async () => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using keys = await bench.open();
    await bench.passed(20 * DAY);
    expect(bench.states).toEqual(["Enabled"]);
    await keys.generateKey("a", "ec-p256");
    await bench.passed(3 * DAY);
    expect(bench.states).toEqual(["PendingDeletion", "Enabled"]);
  });

  it("gives keys up also where it is restarted every day", async () => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    bench.clock.step(20 * DAY);
    for (let day = 0; day < 4; day++) {
      await using keys = await bench.open();
      await keys.listKeys();
      if (day === 0) {
        await keys.generateKey("a", "ec-p256");
        bench.failOn("UpdateAlias", awsFailure("KMSInternalException", 500));
        await keys.generateKey("a", "ec-p256").catch(() => undefined);
      }
      await bench.passed(DAY);
    }
    expect(bench.states).toEqual(["PendingDeletion", "Enabled", "PendingDeletion"]);
  });

  it("gives up what it may where it may not look at one key, or give up another", async () => {
    for (const key_identifier_value of ["dead-1", "dead-2", "dead-3", "dead-4"]) {
      await using dead = await bench.open({ key_identifier_value });
      await dead.generateKey("a", "ec-p256");
    }
    bench.kms.aliases.delete("alias/SPIRE_SERVER/example_org/dead-4/a");
    const [hidden, kept] = [...bench.kms.keys.keys()];
    bench.kms.fault = (action, _options, keyId) => {
      const closed = action === "DescribeKey" ? hidden : kept;
      if (keyId !== undefined && keyId === closed) throw awsFailure("AccessDeniedException");
    };
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await bench.passed(18 * DAY);
    expect(bench.states).toEqual(["Enabled", "Enabled", "PendingDeletion", "PendingDeletion", "Enabled"]);
    expect(bench.kms.aliases.has("alias/SPIRE_SERVER/example_org/dead-2/a")).toBe(true);
    expect(bench.log).toContainEqual({
      level: "warn",
      message: "a key of a server that is gone could not be given up",
      fields: expect.objectContaining({ key: kept }) as unknown,
    });
  });

  it("leaves a server half a day to come back after all were away", async () => {
    await using late = await bench.open({ key_identifier_value: "late" });
    await late.generateKey("a", "ec-p256");
    await late[Symbol.asyncDispose]();
    bench.clock.step(20 * DAY);
    await using first = await bench.open();
    await first.generateKey("a", "ec-p256");
    await bench.passed(12 * HOUR);
    await using again = await bench.open({ key_identifier_value: "late" });
    await again.listKeys();
    await bench.passed(3 * DAY);
    expect(bench.states).toEqual(["Enabled", "Enabled"]);
  });

  it("goes on after a chore has failed", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    bench.failOn("UpdateAlias", awsFailure("AccessDeniedException"));
    await bench.passed(61_000);
    expect(bench.log).toMatchObject([{ level: "warn", message: "a chore of the key manager failed" }]);
    await bench.passed(6 * HOUR);
    expect(bench.kms.aliases.get(`${SERVER}a`)?.updated).toBe(bench.clock.now() - 1000);
  });
});

/** A clock that is ahead of another. */
function shifted(other: Clock, milliseconds: number): Clock {
  return {
    now: () => other.now() + milliseconds,
    schedule: (delay, callback) => other.schedule(delay, callback),
  };
}
