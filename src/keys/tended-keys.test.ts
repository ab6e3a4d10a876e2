import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { RemoteKeyManager, type RemoteKeyService } from "./remote-key-manager.ts";
import { openTendedKeys, tendEach } from "./tended-keys.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** A service that holds these keys, whose handles are their ids. */
function serviceOf(...ids: readonly string[]): RemoteKeyService<string> & { closed: boolean } {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ format: "der", type: "spki" });
  const keyOf = (id: string) => ({ id, type: "ec-p256", publicKey: spki, handle: id }) as const;
  return {
    closed: false,
    list: async () => ids.map(keyOf),
    create: async (id) => ({ ...keyOf(id), handle: `new ${id}` }),
    remove: async () => undefined,
    sign: async () => Buffer.of(1),
    close() {
      this.closed = true;
    },
  };
}

describe("openTendedKeys", () => {
  it("does the chores for the keys of its manager until it is closed", async () => {
    const clock = new FakeClock();
    const service = serviceOf("a", "b");
    const seen: string[] = [];
    const keys = await openTendedKeys(
      service,
      (manager) => [
        {
          name: "looking",
          first: 10,
          every: 10,
          run: () => tendEach(manager, async ({ id }) => void seen.push(id)),
        },
      ],
      { clock, log: silent },
    );
    expect((await keys.listKeys()).map(({ id }) => id)).toEqual(["a", "b"]);
    await clock.advance(10);
    await expect.poll(() => seen).toEqual(["a", "b"]);
    await keys[Symbol.asyncDispose]();
    expect(service.closed).toBe(true);
    expect(clock.pending).toBe(0);
  });
});

describe("tendEach", () => {
  const host = { clock: new FakeClock(), log: silent };

  it("tends every key though one fails, and says at last what failed first", async () => {
    await using manager = new RemoteKeyManager(serviceOf("a", "b", "c"), host);
    const seen: string[] = [];
    const tending = tendEach(manager, async ({ id }) => {
      seen.push(id);
      if (id !== "b") throw new Error(`no ${id}`);
    });
    await expect(tending).rejects.toThrow("no a");
    expect(seen).toEqual(["a", "b", "c"]);
  });

  it("tends a key as it is once the changes before it are done, and none that was deleted", async () => {
    await using manager = new RemoteKeyManager(serviceOf("a", "b", "c"), host);
    const seen: string[] = [];
    let changes: readonly Promise<unknown>[] = [];
    await tendEach(manager, async ({ id, handle }) => {
      seen.push(handle);
      // They are asked for while a is tended, and so come before b.
      if (id === "a") changes = [manager.generateKey("b", "ec-p256"), manager.deleteKey("c")];
    });
    await Promise.all(changes);
    expect(seen).toEqual(["a", "new b"]);
  });
});
