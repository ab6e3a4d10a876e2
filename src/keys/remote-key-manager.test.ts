import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { keyManagerSuite } from "../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import { signDigest } from "../../test/fakes/sign-digest.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { PluginLog } from "../plugin/host.ts";
import type { KeyType } from "../plugin/key-manager.ts";
import { guardKeyManager } from "./guarded.ts";
import { type RemoteKey, RemoteKeyManager, type RemoteKeyService } from "./remote-key-manager.ts";

/** A service whose keys can vanish, and that can be away. */
class Service implements RemoteKeyService<number> {
  readonly keys = new Map<number, RemoteKey<number> & { readonly privateKey: KeyObject }>();
  readonly asked: string[] = [];
  away = false;
  /** What making a key waits for. */
  pause: Promise<unknown> | undefined;
  #next = 0;

  async list() {
    this.#come("list");
    return [...this.keys.values()];
  }
  async create(id: string, type: KeyType, replaced: RemoteKey<number> | undefined) {
    this.#come("create");
    await this.pause;
    const pair =
      type === "rsa-2048" || type === "rsa-4096"
        ? generateKeyPairSync("rsa", { modulusLength: type === "rsa-2048" ? 2048 : 4096 })
        : generateKeyPairSync("ec", { namedCurve: type === "ec-p384" ? "P-384" : "P-256" });
    const publicKey = pair.publicKey.export({ type: "spki", format: "der" });
    const key = { id, type, publicKey, handle: this.#next++, privateKey: pair.privateKey };
    this.keys.set(key.handle, key);
    if (replaced !== undefined) this.keys.delete(replaced.handle);
    return key;
  }
  async remove({ handle }: RemoteKey<number>) {
    this.#come("remove");
    this.keys.delete(handle);
  }
  async sign({ handle }: RemoteKey<number>, digest: Uint8Array) {
    this.#come("sign");
    const key = this.keys.get(handle);
    if (key === undefined) throw new AssayError("KEY_UNAVAILABLE", "no such key");
    return signDigest(key.privateKey, digest);
  }
  async exists({ handle }: RemoteKey<number>) {
    this.#come("exists");
    return this.keys.has(handle);
  }
  close() {}

  #come(what: string) {
    this.asked.push(what);
    if (this.away) throw new AssayError("KEY_UNAVAILABLE", "the service is away");
  }
}

let clock: FakeClock;
let service: Service;
let told: { level: string; message: string }[];
const log = (level: string) => (message: string) => void told.push({ level, message });
const open = (of: RemoteKeyService<number> = service) =>
  new RemoteKeyManager(of, {
    clock,
    log: { debug() {}, info() {}, warn: log("warn"), error: log("error") } satisfies PluginLog,
  });

beforeEach(() => {
  clock = new FakeClock();
  service = new Service();
  told = [];
});

keyManagerSuite(
  "remote",
  async () =>
    new RemoteKeyManager(new Service(), {
      clock: new FakeClock(),
      log: { debug() {}, info() {}, warn() {}, error() {} },
    }),
);

describe("a key of a remote key manager", () => {
  it("that is gone is given up after a failed signature, when the service has said so twice", async () => {
    await using keys = open();
    const key = await keys.generateKey("a", "ec-p256");
    service.keys.clear();
    await expect((async () => key.sign(Buffer.of(1), "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
    expect(await keys.getKey("a")).toBe(key);
    // Twice at once is no more than once.
    expect(await keys.getKey("a")).toBe(key);
    expect(service.asked.filter((what) => what === "exists")).toHaveLength(1);
    await clock.advance(60_000);
    expect(await keys.getKey("a")).toBeUndefined();
    expect(await keys.listKeys()).toEqual([]);
    expect(told).toEqual([{ level: "error", message: "a key is gone from where it was kept" }]);
    await expect((async () => key.sign(Buffer.of(1), "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "key a was deleted or replaced",
    );
    await keys.generateKey("a", "ec-p256");
    expect(service.keys.size).toBe(1);
  });

  it("that is gone is missed though nobody signs, since it is asked for every five minutes", async () => {
    await using keys = open();
    await keys.generateKey("a", "ec-p256");
    service.keys.clear();
    await clock.advance(299_000);
    expect(await keys.getKey("a")).toBeDefined();
    expect(service.asked).not.toContain("exists");
    await clock.advance(1000);
    expect(await keys.getKey("a")).toBeDefined();
    await clock.advance(60_000);
    expect(await keys.getKey("a")).toBeUndefined();
  });

  it("stays where the service says once that it is gone, and then that it is not", async () => {
    await using keys = open();
    const key = await keys.generateKey("a", "ec-p256");
    const held = new Map(service.keys);
    service.keys.clear();
    await clock.advance(300_000);
    await keys.getKey("a");
    for (const [handle, one] of held) service.keys.set(handle, one);
    await clock.advance(60_000);
    expect(await keys.getKey("a")).toBe(key);
    service.keys.clear();
    await clock.advance(300_000);
    expect(await keys.getKey("a")).toBe(key);
  });

  it("stays where the service cannot be asked", async () => {
    await using keys = open();
    const key = await keys.generateKey("a", "ec-p256");
    service.away = true;
    await expect((async () => key.sign(Buffer.of(1), "der"))()).rejects.toThrowCode("KEY_UNAVAILABLE");
    for (let minute = 0; minute < 30; minute++) {
      await clock.advance(60_000);
      expect(await keys.getKey("a")).toBe(key);
    }
    expect(service.asked).toContain("exists");
  });

  it("that was replaced while it was asked for is not taken for the new one", async () => {
    await using keys = open();
    await keys.generateKey("a", "ec-p256");
    service.keys.clear();
    await clock.advance(300_000);
    await keys.getKey("a");
    await clock.advance(60_000);
    const asking = keys.getKey("a");
    const made = await keys.generateKey("a", "ec-p256");
    await asking;
    expect(await keys.getKey("a")).toBe(made);
  });

  it("is told of while another is made", async () => {
    await using keys = open();
    const key = await keys.generateKey("a", "ec-p256");
    const { promise, resolve } = Promise.withResolvers<undefined>();
    service.pause = promise;
    const making = keys.generateKey("b", "ec-p256");
    expect(await keys.getKey("a")).toBe(key);
    expect(await keys.listKeys()).toEqual([key]);
    resolve(undefined);
    await making;
  });

  it("that another process made is given up with a warning", async () => {
    await using before = open();
    await before.generateKey("a", "ec-p256");
    await using after = open();
    await after.generateKey("a", "ec-p256");
    expect(told).toEqual([
      { level: "warn", message: "a key that this process did not make is replaced and given up" },
    ]);
    await after.generateKey("a", "ec-p256");
    await after.deleteKey("a");
    expect(told).toHaveLength(1);
  });
});

describe("an authority whose key vanished from its service", () => {
  it("is followed by another within minutes, and why is told", async () => {
    const { world, signing } = await place();
    const { active } = signing.authorityStates("x509");
    for (const [handle, { id }] of service.keys) if (id === active?.keyId) service.keys.delete(handle);
    for (let minute = 0; minute < 7; minute++) {
      await world.clock.advance(60_000);
      await settled();
    }
    expect(signing.authorityStates("x509").active).toBeDefined();
    expect(signing.authorityStates("x509").active?.id).not.toBe(active?.id);
    expect(world.told()).toEqual(["x509 retired key-missing", "x509 prepared", "x509 activated"]);
  });

  it("stays for as long as the service is away", async () => {
    const { world, signing } = await place();
    const before = signing.authorities();
    service.away = true;
    for (let minute = 0; minute < 60; minute++) {
      await world.clock.advance(60_000);
      await settled();
    }
    expect(signing.authorities()).toEqual(before);
  });
});

async function place() {
  const world = new SigningWorld();
  clock = world.clock;
  world.keyManager = guardKeyManager(open(), { clock, report: () => undefined });
  const signing = await world.open();
  onTestFinished(async () => {
    await signing[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });
  world.told();
  return { world, signing };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
}
