import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GcpKmsBench } from "../../../test/fakes/gcp-kms-bench.ts";
import { googleFailure } from "../../../test/fakes/google-service.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let bench: GcpKmsBench;
beforeEach(async () => {
  bench = await GcpKmsBench.start();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("the care of gcpKmsKeyManager for keys", () => {
  it("sets the time of its keys anew every six hours, and gives up versions that were left enabled", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    bench.service.fault = ({ path }) => {
      if (path.endsWith(":destroy")) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await keys.generateKey("a", "ec-p256");
    expect(bench.log).toMatchObject([{ message: "a replaced key version could not be given up yet" }]);
    bench.service.fault = undefined;
    const start = bench.clock.now();
    await bench.passed(61_000, () => bench.keys[0]?.versions[0]?.state === "DESTROY_SCHEDULED");
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["DESTROY_SCHEDULED", "ENABLED"]);
    expect(bench.keys[0]?.labels["spire-last-update"]).toBe(String((start + 61_000) / 1000));
    await bench.passed(
      6 * HOUR,
      () => Number(bench.keys[0]?.labels["spire-last-update"]) > start / 1000 + 60,
    );
  });

  it("gives up only versions that it saw replaced or listed, not those that another made", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await using second = await bench.open();
    await second.generateKey("a", "ec-p256");
    const others = bench.keys[0]!.versions[1]!;
    await keys.generateKey("a", "ec-p256");
    await bench.passed(7 * HOUR);
    expect(others.state).toBe("ENABLED");
    expect(bench.log).toContainEqual(
      expect.objectContaining({
        level: "error",
        message: expect.stringContaining("a second server runs with this key identifier") as string,
      }),
    );
  });

  it("gives up older versions that it found enabled when it was started", async () => {
    await using before = await bench.open();
    bench.service.fault = ({ path }) => {
      if (path.endsWith(":destroy")) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await before.generateKey("a", "ec-p256");
    await before.generateKey("a", "ec-p256");
    await before[Symbol.asyncDispose]();
    bench.service.fault = undefined;
    await using after = await bench.open();
    await after.listKeys();
    await bench.passed(61_000, () => bench.keys[0]?.versions[0]?.state === "DESTROY_SCHEDULED");
    expect(bench.keys[0]?.versions[1]?.state).toBe("ENABLED");
  });

  it("gives up keys of dead servers of the trust domain after two weeks, and no others", async () => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using stranger = await bench.open(
      { key_identifier_value: "dead-too" },
      { trustDomain: "example.com" },
    );
    await stranger.generateKey("a", "ec-p256");
    await stranger[Symbol.asyncDispose]();
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    const states = () => bench.keys.map(({ versions }) => versions[0]?.state);
    await bench.passed(13 * DAY);
    expect(states()).toEqual(["ENABLED", "ENABLED", "ENABLED"]);
    await bench.passed(12 * DAY, () => bench.keys[0]?.labels["spire-active"] === "false");
    expect(states()).toEqual(["DESTROY_SCHEDULED", "ENABLED", "ENABLED"]);
  });

  it.each([20 * DAY, -20 * DAY, 2 * HOUR])(
    "gives nothing of others up where its clock is %d ms from Google's, and says so",
    async (shift) => {
      await using live = await bench.open({ key_identifier_value: "live" });
      await live.generateKey("a", "ec-p256");
      await live[Symbol.asyncDispose]();
      if (shift < 0)
        bench.keys[0]!.labels["spire-last-update"] = String((bench.clock.now() + 2 * shift) / 1000);
      const now = bench.clock.now();
      bench.clock.step(shift);
      bench.service.now = () => bench.clock.now() - shift;
      expect(bench.service.now()).toBe(now);
      await using keys = await bench.open();
      await keys.generateKey("a", "ec-p256");
      await bench.passed(5 * DAY);
      expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
      expect(bench.log.map(({ fields }) => JSON.stringify(fields))).toContainEqual(
        expect.stringContaining("our clock is more than an hour away from Google's"),
      );
    },
  );

  it("gives keys up also where it is restarted every day", async () => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    bench.clock.step(20 * DAY);
    for (let day = 0; day < 3; day++) {
      await using keys = await bench.open();
      await keys.listKeys();
      await bench.passed(DAY);
    }
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["DESTROY_SCHEDULED"]);
  });

  it("gives up what it may where it may not give up what comes before", async () => {
    for (const key_identifier_value of ["dead-1", "dead-2"]) {
      await using dead = await bench.open({ key_identifier_value });
      await dead.generateKey("a", "ec-p256");
    }
    bench.service.fault = ({ path }) => {
      if (path.includes("dead-1") && path.endsWith(":destroy")) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await using keys = await bench.open();
    await keys.listKeys();
    await bench.passed(20 * DAY);
    const states = bench.keys.map(({ versions }) => versions[0]?.state);
    expect(states).toEqual(["ENABLED", "DESTROY_SCHEDULED"]);
    expect(bench.keys[0]?.labels["spire-active"]).toBe("true");
    expect(bench.log).toContainEqual({
      level: "warn",
      message: "a key of a server that is gone could not be given up",
      fields: expect.objectContaining({ key: expect.stringContaining("dead-1") as string }) as unknown,
    });
  });

  it("leaves a server half a day to come back after all were away", async () => {
    await using late = await bench.open({ key_identifier_value: "late" });
    await late.generateKey("a", "ec-p256");
    await late[Symbol.asyncDispose]();
    bench.clock.step(20 * DAY);
    await using first = await bench.open();
    await first.listKeys();
    await bench.passed(6 * HOUR);
    await using again = await bench.open({ key_identifier_value: "late" });
    await again.listKeys();
    await bench.passed(5 * DAY);
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
  });

  it.each([
    ["another trust domain", { "spire-server-td": "0".repeat(40) }],
    ["this server", { "spire-server-id": "server-1" }],
    ["a server that has given it up", { "spire-active": "false" }],
    ["a server that cared for it since", { "spire-last-update": "4000000000" }],
  ])("looks at the labels again before it gives up a key, and leaves one of %s alone", async (_, labels) => {
    await using dead = await bench.open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using keys = await bench.open();
    await keys.listKeys();
    bench.service.fault = ({ path, method }) => {
      if (method === "GET" && path.endsWith("/cryptoKeys/spire-key-dead-a")) {
        Object.assign(bench.keys[0]?.labels ?? {}, labels);
      }
      return undefined;
    };
    await bench.passed(20 * DAY);
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
    expect(bench.keys[0]?.labels).toMatchObject(labels);
  });

  it("is not led to give keys up by a clock that jumps ahead, nor by a filter that does not filter", async () => {
    await using other = await bench.open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    await other[Symbol.asyncDispose]();
    await using keys = await bench.open();
    await keys.listKeys();
    const real = bench.kms.handle;
    const { now } = bench.service;
    bench.clock.step(400 * DAY);
    bench.service.now = () => now() - 400 * DAY;
    bench.service.fault = (request) => {
      if (!(request.query.get("filter") ?? "").includes("<")) return undefined;
      const query = new URLSearchParams({ filter: "labels.spire-active = true" });
      return { status: 200, text: JSON.stringify(real({ ...request, query })) };
    };
    await bench.passed(3 * HOUR);
    expect(bench.keys[0]?.versions[0]?.state).toBe("ENABLED");
  });
});
