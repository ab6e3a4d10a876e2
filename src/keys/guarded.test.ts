import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import type { KeyManager, KeyType, ManagedKey } from "../plugin/key-manager.ts";
import { type GuardedKeyManager, guardKeyManager, type KeyManagerGuardOptions } from "./guarded.ts";
import type { KeyManagerState } from "./key-manager-state.ts";
import { openMemoryKeyManager } from "./memory/memory.ts";

const clocked = new FakeClock();
keyManagerSuite("guarded memory", async () =>
  guardKeyManager(openMemoryKeyManager(), { clock: clocked, report: () => undefined }),
);

const DATA = Buffer.from("data");
let clock: FakeClock;
let reports: KeyManagerState[];
let service: Service;
let guard: GuardedKeyManager;

/** A key manager whose calls can be made to hang, fail or lie. */
class Service implements KeyManager {
  readonly #keys = openMemoryKeyManager();
  /** What each call waits for. */
  pause: Promise<unknown> | undefined;
  /** What each signature goes through. */
  twist: (signature: Uint8Array, key: ManagedKey) => Uint8Array | Promise<Uint8Array> = (signature) =>
    signature;
  failure: Error | undefined;
  begun = 0;

  async #go(): Promise<void> {
    this.begun++;
    if (this.failure !== undefined) throw this.failure;
    if (this.pause !== undefined) await this.pause;
  }
  async generateKey(id: string, type: KeyType): Promise<ManagedKey> {
    await this.#go();
    return this.#remote(await this.#keys.generateKey(id, type));
  }
  async getKey(id: string): Promise<ManagedKey | undefined> {
    await this.#go();
    const key = await this.#keys.getKey(id);
    return key === undefined ? undefined : this.#remote(key);
  }
  async listKeys(): Promise<readonly ManagedKey[]> {
    await this.#go();
    return (await this.#keys.listKeys()).map((key) => this.#remote(key));
  }
  async deleteKey(id: string): Promise<void> {
    await this.#go();
    await this.#keys.deleteKey(id);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.pause;
    await this.#keys[Symbol.asyncDispose]();
  }
  #remote(key: ManagedKey): ManagedKey {
    const { id, type, publicKey } = key;
    return {
      id,
      type,
      publicKey,
      sign: async (data, form) => {
        await this.#go();
        return this.twist(await key.sign(data, form), key);
      },
    };
  }
}

function guarded(options: Partial<KeyManagerGuardOptions> = {}): GuardedKeyManager {
  return guardKeyManager(service, { clock, report: (state) => reports.push(state), ...options });
}

beforeEach(() => {
  clock = new FakeClock();
  reports = [];
  service = new Service();
  guard = guarded();
});
afterEach(async () => {
  service.pause = undefined;
  await guard[Symbol.asyncDispose]();
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("a service that stalls", () => {
  it("is given up at the deadline of a signature, with the key and the time named", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    service.pause = new Promise(() => undefined);
    const signing = key.sign(DATA, "der");
    const ended = expect(signing).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "did not sign with key a within 5 s",
    );
    await clock.advance(4999);
    expect(reports).toEqual([]);
    await clock.advance(1);
    await ended;
    expect(reports).toMatchObject([{ status: "degraded", since: clock.now() }]);
  });

  it("may take a minute to make a key and half of one for the rest", async () => {
    service.pause = new Promise(() => undefined);
    const making = expect(guard.generateKey("a", "rsa-4096")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "did not generate key a within 60 s",
    );
    const listing = expect(guard.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", "within 30 s");
    const deleting = expect(guard.deleteKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE", "within 30 s");
    const getting = expect(guard.getKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE", "within 30 s");
    await clock.advance(60_000);
    await Promise.all([making, listing, deleting, getting]);
  });

  it("is asked no more than it was allowed to be, and the rest is refused at once", async () => {
    guard = guarded({ maxInFlight: 2, maxWaiting: 3 });
    const key = await guard.generateKey("a", "ec-p256");
    const before = service.begun;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    service.pause = promise;
    const taken = Array.from({ length: 5 }, async () => key.sign(DATA, "der"));
    await expect(key.sign(DATA, "der")).rejects.toThrowCode("RATE_LIMITED", /too much is asked/);
    expect(service.begun - before).toBe(2);
    expect(guard.state().status).toBe("ok");
    service.pause = undefined;
    resolve(undefined);
    for (const signature of await Promise.all(taken)) expect(isValid(key, DATA, signature, "der")).toBe(true);
  });

  it("is not asked ever more often while calls that were given up still hang", async () => {
    guard = guarded({ maxInFlight: 2, maxWaiting: 100 });
    const key = await guard.generateKey("a", "ec-p256");
    const before = service.begun;
    service.pause = new Promise(() => undefined);
    for (let round = 0; round < 8; round++) {
      const failing = Promise.allSettled(Array.from({ length: 5 }, async () => key.sign(DATA, "der")));
      await clock.advance(5000);
      expect((await failing).every(({ status }) => status === "rejected")).toBe(true);
    }
    expect(service.begun - before).toBe(2);
  });

  it("is asked again after a minute, though a call to it never ended", async () => {
    guard = guarded({ maxInFlight: 1 });
    const key = await guard.generateKey("a", "ec-p256");
    service.pause = new Promise(() => undefined);
    const lost = expect(key.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
    await clock.advance(5000);
    await lost;
    service.pause = undefined;
    await clock.advance(55_000);
    expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
  });

  it("does not keep the server from closing, and what waits is told", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    service.pause = new Promise(() => undefined);
    const signing = expect(key.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "is closed");
    const closing = guard[Symbol.asyncDispose]();
    await signing;
    await clock.advance(3000);
    await closing;
    expect(reports).toEqual([]);
    await expect(key.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE", "is closed");
  });

  it("leaves no timer behind", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    await Promise.all(Array.from({ length: 100 }, async () => key.sign(DATA, "der")));
    expect(clock.pending).toBe(0);
  });
});

describe("a service that lies", () => {
  it.each([
    ["garbage", () => Buffer.from("garbage")],
    ["nothing", () => new Uint8Array(0)],
    ["no bytes", () => "text" as unknown as Uint8Array],
    ["a signature cut short", (signature: Uint8Array) => signature.subarray(0, -1)],
    [
      "a signature over other data",
      (_: Uint8Array, key: ManagedKey) => key.sign(Buffer.from("other"), "der"),
    ],
    ["the other form", (_: Uint8Array, key: ManagedKey) => key.sign(DATA, "p1363")],
  ] as const)("with %s gets nothing past the guard", async (_, twist) => {
    const key = await guard.generateKey("a", "ec-p256");
    service.twist = twist;
    await expect(key.sign(DATA, "der")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /public key of a does not verify/,
    );
    expect(guard.state()).toMatchObject({
      status: "degraded",
      cause: expect.stringContaining("does not verify") as string,
    });
  });

  it.each(["ec-p256", "ec-p384", "rsa-2048"] as const)(
    "with another's signature of %s is caught",
    async (type) => {
      await using stranger = openMemoryKeyManager();
      const foreign = await stranger.generateKey("a", type);
      const key = await guard.generateKey("a", type);
      expect(isValid(key, DATA, await key.sign(DATA, "p1363"), "p1363")).toBe(true);
      service.twist = () => foreign.sign(DATA, "p1363");
      await expect(key.sign(DATA, "p1363")).rejects.toThrowCode("KEY_UNAVAILABLE", /does not verify/);
    },
  );

  it.each([
    ["another id", (key: ManagedKey) => ({ ...key, id: "b" })],
    ["another type", (key: ManagedKey) => ({ ...key, type: "ec-p384" as const })],
    ["no public key", (key: ManagedKey) => ({ ...key, publicKey: Buffer.from("x") })],
  ])("about a new key, telling %s, is refused", async (_, change) => {
    const honest = service.generateKey.bind(service);
    service.generateKey = async (id, type) => change(await honest(id, type));
    await expect(guard.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE", /a/);
    expect(guard.state().status).toBe("degraded");
  });

  it("about the type by making a key of another one is refused", async () => {
    const honest = service.generateKey.bind(service);
    service.generateKey = async (id) => ({ ...(await honest(id, "rsa-2048")), type: "rsa-4096" });
    await expect(guard.generateKey("a", "rsa-4096")).rejects.toThrowCode("KEY_UNAVAILABLE", /made another/);
  });
});

describe("the state", () => {
  const down = new Error("connection refused");

  it("is reported once when trouble begins and once when five seconds passed without any", async () => {
    const a = await guard.generateKey("a", "ec-p256");
    await guard.generateKey("b", "ec-p256");
    const began = clock.now();
    service.failure = down;
    for (let n = 0; n < 3; n++)
      await expect(a.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE", /refused/);
    expect(reports).toEqual([
      { status: "degraded", since: began, cause: "key manager failed: connection refused" },
    ]);
    service.failure = undefined;
    await a.sign(DATA, "der");
    expect(guard.state().status).toBe("degraded");
    await clock.advance(5000);
    expect(reports).toHaveLength(2);
    expect(guard.state()).toEqual({ status: "ok", since: began + 5000 });
  });

  it("does not follow a service that fails every other call", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    for (let n = 0; n < 10; n++) {
      service.failure = n % 2 === 0 ? down : undefined;
      await Promise.allSettled([key.sign(DATA, "der")]);
      await clock.advance(1000);
    }
    expect(reports.map(({ status }) => status)).toEqual(["degraded"]);
  });

  it("stays degraded while one key fails and another works", async () => {
    const a = await guard.generateKey("a", "ec-p256");
    const b = await guard.generateKey("b", "ec-p256");
    service.failure = new Error("key a is gone");
    await expect(a.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
    service.failure = undefined;
    await b.sign(DATA, "der");
    await clock.advance(60_000);
    expect(guard.state()).toMatchObject({
      status: "degraded",
      cause: expect.stringContaining("key a is gone") as string,
    });
    await guard.generateKey("a", "ec-p256");
    await clock.advance(5000);
    expect(guard.state().status).toBe("ok");
  });

  it("does not stay degraded for a key that nobody has asked for since", async () => {
    const a = await guard.generateKey("a", "ec-p256");
    const b = await guard.generateKey("b", "ec-p256");
    service.failure = down;
    await expect(a.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
    service.failure = undefined;
    await clock.advance(299_000);
    await b.sign(DATA, "der");
    await clock.advance(900);
    expect(guard.state().status).toBe("degraded");
    await clock.advance(100);
    await b.sign(DATA, "der");
    await clock.advance(5000);
    expect(guard.state().status).toBe("ok");
  });

  it("does not stay degraded for such a key where the clock was set back", async () => {
    const a = await guard.generateKey("a", "ec-p256");
    const b = await guard.generateKey("b", "ec-p256");
    service.failure = down;
    await expect(a.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
    service.failure = undefined;
    clock.step(-86_400_000);
    for (let minute = 0; minute < 6; minute++) {
      await b.sign(DATA, "der");
      await clock.advance(60_000);
    }
    expect(guard.state().status).toBe("ok");
  });

  it("does not suffer from what its caller does wrong", async () => {
    const replaced = await guard.generateKey("a", "ec-p256");
    const deleted = await guard.generateKey("a", "ec-p256");
    await guard.deleteKey("a");
    for (const key of [replaced, deleted]) {
      await expect(key.sign(DATA, "der")).rejects.toThrowCode(
        "KEY_UNAVAILABLE",
        "key a was deleted or replaced",
      );
    }
    await expect(guard.generateKey("../a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE", /key id/);
    expect(reports).toEqual([]);
  });

  it("is that of the whole manager where its keys cannot be told, and any answer mends it", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    service.failure = down;
    await expect(guard.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE");
    expect(guard.state().status).toBe("degraded");
    service.failure = undefined;
    await key.sign(DATA, "der");
    await clock.advance(5000);
    expect(guard.state().status).toBe("ok");
  });

  it("does not come back after closing", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    service.failure = down;
    await expect(key.sign(DATA, "der")).rejects.toThrowCode("KEY_UNAVAILABLE");
    service.failure = undefined;
    await key.sign(DATA, "der");
    await guard[Symbol.asyncDispose]();
    await clock.advance(10_000);
    await turn();
    expect(reports).toHaveLength(1);
  });
});

describe("an answer that needs no service", () => {
  it("is no proof that keys work: a key that failed leaves the manager degraded while others ask for it", async () => {
    const key = await guard.generateKey("a", "ec-p256");
    service.twist = () => Buffer.of(1);
    await expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
    for (let round = 0; round < 60; round++) {
      await clock.advance(10_000);
      await guard.getKey("a");
      await guard.listKeys();
    }
    expect(reports.map(({ status }) => status)).toEqual(["degraded"]);
    service.twist = (signature) => signature;
    await key.sign(DATA, "der");
    await clock.advance(5000);
    expect(guard.state().status).toBe("ok");
  });

  it("is proof enough that the manager answers where it was that which failed", async () => {
    service.failure = new Error("away");
    await expect(guard.getKey("a")).rejects.toThrowCode("KEY_UNAVAILABLE");
    service.failure = undefined;
    await guard.getKey("a");
    await clock.advance(5000);
    expect(reports.map(({ status }) => status)).toEqual(["degraded", "ok"]);
  });
});

describe("a key manager that gives the same object again", () => {
  it("for a key that was made anew has it sign", async () => {
    const one = await openMemoryKeyManager().generateKey("a", "ec-p256");
    const same: KeyManager = {
      generateKey: async () => one,
      getKey: async () => one,
      listKeys: async () => [one],
      deleteKey: async () => undefined,
      async [Symbol.asyncDispose]() {},
    };
    await using over = guardKeyManager(same, { clock, report: () => undefined });
    await over.generateKey("a", "ec-p256");
    const again = await over.generateKey("a", "ec-p256");
    expect(isValid(one, DATA, await again.sign(DATA, "der"), "der")).toBe(true);
  });
});
