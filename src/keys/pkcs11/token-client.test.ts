import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { TokenError } from "./cryptoki-error.ts";
import type { Keeper } from "./keeper.ts";
import type { TokenRequest } from "./messages.ts";
import { TokenClient } from "./token-client.ts";

const LOST = new TokenError("lost", "cannot sign with key a: CKR_DEVICE_REMOVED, the device was taken away");
const SIGN: Extract<TokenRequest, { op: "sign" }> = {
  op: "sign",
  key: { id: "a", type: "ec-p256", handle: "00" },
  digest: Buffer.alloc(32),
};
const SIGNATURE = Buffer.from("signature");

let clock: FakeClock;
let keepers: FakeKeeper[];
let stamp: string;
let warnings: unknown[];
let client: TokenClient;
/** What opening answers, by turns; the last stays. */
let openings: (TokenError | undefined)[];
/** What everything but opening answers with those that are started from now on. */
let everyFailure: TokenError | undefined;

class FakeKeeper implements Keeper {
  readonly asked: string[] = [];
  readonly deadlines: number[] = [];
  failure = everyFailure;
  pause: Promise<unknown> | undefined;
  retired = false;
  closed = false;
  async ask(request: TokenRequest, deadline: number): Promise<never> {
    this.asked.push(request.op);
    this.deadlines.push(deadline);
    const opening = openings.length > 1 ? openings.shift() : openings[0];
    if (request.op === "open") {
      if (opening !== undefined) throw opening;
      return undefined as never;
    }
    await this.pause;
    if (this.failure !== undefined) throw this.failure;
    return SIGNATURE as never;
  }
  async retire(): Promise<void> {
    this.retired = true;
  }
  async close(): Promise<void> {
    this.closed = true;
  }
}

beforeEach(() => {
  clock = new FakeClock();
  keepers = [];
  stamp = "one";
  warnings = [];
  openings = [undefined];
  everyFailure = undefined;
  client = new TokenClient({
    settings: { library: "/lib.so", token: { slot: 0 }, pinFile: "/pin", prefix: "p" },
    clock,
    log: { debug() {}, info() {}, warn: (_, fields) => warnings.push(fields), error() {} },
    start: () => {
      const keeper = new FakeKeeper();
      keepers.push(keeper);
      return keeper;
    },
    pinStamp: async () => stamp,
  });
});

const last = () => keepers.at(-1) as FakeKeeper;

describe("a device that is lost while it signs", () => {
  it("fails the call with the code, and is opened anew by the next call", async () => {
    await client.open();
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
    last().failure = LOST;
    await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE", /CKR_DEVICE_REMOVED/);
    expect(keepers[0]?.retired).toBe(true);
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
    expect(keepers).toHaveLength(2);
    expect(warnings).toHaveLength(1);
  });

  it("is opened once for many calls at once, and is lost once for all that fail", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await client.open();
    last().pause = promise;
    last().failure = LOST;
    const signing = Promise.allSettled(Array.from({ length: 20 }, () => client.ask(SIGN)));
    await new Promise((turn) => setImmediate(turn));
    resolve();
    expect((await signing).every(({ status }) => status === "rejected")).toBe(true);
    expect(warnings).toHaveLength(1);
    await Promise.all(Array.from({ length: 20 }, () => client.ask(SIGN)));
    expect(keepers).toHaveLength(2);
  });

  it("is opened at growing distances while it stays away, and the reason is told at once meanwhile", async () => {
    openings = [LOST];
    await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE", /taken away/);
    const tries: number[] = [];
    const began = clock.now();
    for (let second = 0; second < 180; second++) {
      const before = keepers.length;
      await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE", /taken away/);
      if (keepers.length > before) tries.push((clock.now() - began) / 1000);
      await clock.advance(1000);
    }
    expect(tries).toEqual([0, 1, 3, 7, 15, 31, 61, 91, 121, 151]);
    openings = [undefined];
    await clock.advance(30_000);
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
  });

  it("is opened half a minute later at most, also where the clock was set back meanwhile", async () => {
    openings = [LOST];
    for (let n = 0; n < 8; n++) {
      await client.ask(SIGN).catch(() => undefined);
      await clock.advance(30_000);
    }
    await client.ask(SIGN).catch(() => undefined);
    clock.step(-86_400_000);
    openings = [undefined];
    await clock.advance(30_000);
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
  });

  it("is not opened ever faster where it opens and then fails each time", async () => {
    await client.open();
    everyFailure = LOST;
    for (let second = 0; second < 60; second++) {
      await client.ask(SIGN).catch(() => undefined);
      await clock.advance(1000);
    }
    expect(keepers.length).toBeLessThan(10);
  });

  it("keeps its process where it only refuses", async () => {
    await client.open();
    last().failure = new TokenError("refused", "cannot make key a: CKR_MECHANISM_INVALID");
    await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE", /CKR_MECHANISM_INVALID/);
    last().failure = undefined;
    await client.ask(SIGN);
    expect(keepers).toHaveLength(1);
  });
});

describe("a PIN that is refused", () => {
  const refused = new TokenError("pin", "cannot log in to the token: CKR_PIN_INCORRECT");

  it("stops the start", async () => {
    openings = [refused];
    await expect(client.open()).rejects.toThrowCode("CONFIG_INVALID", /CKR_PIN_INCORRECT/);
    expect(keepers.every(({ closed, retired }) => closed || retired)).toBe(true);
  });

  it("is not tried again before its file has changed, however long that takes", async () => {
    await client.open();
    last().failure = LOST;
    await client.ask(SIGN).catch(() => undefined);
    openings = [refused];
    for (let hour = 0; hour < 48; hour++) {
      await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE");
      await clock.advance(3_600_000);
    }
    expect(keepers).toHaveLength(2);
    openings = [undefined];
    stamp = "two";
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
    expect(keepers).toHaveLength(3);
  });
});

describe("a call", () => {
  it("has ten seconds for a signature, two minutes for a new key, and half a minute for all else", async () => {
    const requests: readonly TokenRequest[] = [
      SIGN,
      { op: "generate", id: "a", type: "ec-p256", order: { end: Buffer.alloc(4), known: [] } },
      { op: "list" },
      { op: "exists", handle: "00" },
      { op: "destroy", id: "a", handle: "00" },
    ];
    for (const request of requests) await client.ask(request);
    expect(last().asked).toEqual(["open", "sign", "generate", "list", "exists", "destroy"]);
    expect(last().deadlines).toEqual([30_000, 10_000, 120_000, 30_000, 30_000, 30_000]);
  });
});

describe("a start", () => {
  it("is stopped by a setting that is wrong", async () => {
    openings = [new TokenError("config", "module_path /x cannot be loaded")];
    await expect(client.open()).rejects.toThrowCode("CONFIG_INVALID", "module_path /x cannot be loaded");
  });

  it("is not stopped by a device that is away", async () => {
    openings = [LOST, undefined];
    await client.open();
    expect(warnings).not.toHaveLength(0);
    expect(await client.ask(SIGN)).toBe(SIGNATURE);
  });
});

describe("closing", () => {
  it("ends the process, those that were lost before, and every later call", async () => {
    await client.open();
    last().failure = LOST;
    await client.ask(SIGN).catch(() => undefined);
    await client.ask(SIGN);
    await client.close();
    expect(keepers[1]?.closed).toBe(true);
    await expect(client.ask(SIGN)).rejects.toThrowCode("KEY_UNAVAILABLE", "key manager is closed");
    expect(keepers).toHaveLength(2);
  });
});
