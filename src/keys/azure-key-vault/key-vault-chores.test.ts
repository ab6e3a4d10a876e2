import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { KeyManager } from "../../plugin/key-manager.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeKeyVault, restError } from "../../../test/fakes/key-vault.ts";
import { acceptedConfig, type LogLine, recordingHost } from "../../../test/fakes/plugin-host.ts";
import { RemoteKeyManager } from "../remote-key-manager.ts";
import { tendEach } from "../tended-keys.ts";
import { azureKeyVaultKeyManager } from "./azure-key-vault.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const TAGS = { "spire-server-td": "example.org", "spire-server-id": "other" };
const NAME = "spire-key-1f0d4a4e-9f5c-4c5e-8a64-5a0a3d1f2b11-x509-CA-A";

let clock: FakeClock;
let vault: FakeKeyVault;
let lines: LogLine[];
beforeEach(() => {
  clock = new FakeClock();
  vault = new FakeKeyVault(clock);
  lines = [];
});

/** What was asked for, by the first word. */
const calls = (verb: string) => vault.calls.filter((call) => call.startsWith(`${verb} `) || call === verb);

describe("the chores of azure_key_vault", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "azure-chores-"));
    for (const [name, text] of [
      ["identity", "exports.DefaultAzureCredential = class {};"],
      ["keyvault-keys", "module.exports = globalThis.keyVaultOfTheTest;"],
    ] as const) {
      const place = join(folder, "node_modules/@azure", name);
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, "index.js"), text);
    }
    Object.assign(globalThis, { keyVaultOfTheTest: vault.sdk });
    return () => {
      Reflect.deleteProperty(globalThis, "keyVaultOfTheTest");
      rmSync(folder, { recursive: true });
    };
  });

  async function open(): Promise<KeyManager> {
    const settings = await acceptedConfig(azureKeyVaultKeyManager, {
      key_vault_uri: "https://fake.vault.azure.net/",
      key_identifier_value: "s",
      packages_folder: folder,
    });
    return azureKeyVaultKeyManager.create(settings, recordingHost(clock, "example.org", lines));
  }

  it("note the keys to be in use after a minute, and then every six hours, also where one cannot be", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await keys.generateKey("b", "ec-p256");
    const [first = ""] = vault.keys.keys();
    vault.fault = (call) => {
      if (call.startsWith(`update ${first}`)) throw restError(403, "Forbidden");
    };
    await clock.advance(MINUTE - 1);
    expect(calls("update")).toEqual([]);
    await clock.advance(1);
    await expect.poll(() => calls("update").length).toBe(2);
    await expect.poll(() => lines.length).toBe(1);
    await clock.advance(360 * MINUTE - 1);
    expect(calls("update")).toHaveLength(2);
    await clock.advance(1);
    await expect.poll(() => calls("update").length).toBe(4);
  });

  it("end with the manager, without a line in the log", async () => {
    vault.put(NAME, "EC", { tags: TAGS });
    clock.step(15 * DAY);
    const keys = await open();
    await keys.generateKey("a", "ec-p256");
    vault.fault = (call) => (call.startsWith("delete") ? new Promise(() => {}) : undefined);
    await clock.advance(DAY / 2);
    await expect.poll(() => calls("delete").length).toBe(1);
    await keys[Symbol.asyncDispose]();
    await clock.advance(2 * DAY);
    expect(calls("delete")).toHaveLength(1);
    expect(lines.map(({ level }) => level)).toEqual(["info"]);
    expect(clock.pending).toBe(0);
  });
});

describe("keys of servers that are gone", () => {
  function open(serverId = "s") {
    const host = recordingHost(clock, "example.org", lines);
    const service = vault.service(host, serverId);
    return { service, keys: new RemoteKeyManager(service, host) };
  }

  it("are deleted when nobody noted them for two weeks of Key Vault's time", async () => {
    const mine = open();
    await using _ = mine.keys;
    await mine.keys.generateKey("a", "ec-p256");
    const other = open("other");
    await other.keys.generateKey("a", "ec-p256");
    vault.put("by-hand", "EC", { tags: TAGS });
    vault.put(NAME, "EC", { tags: { ...TAGS, "spire-server-td": "else.org" } });
    clock.step(14 * DAY);
    await mine.service.deleteStale();
    expect(vault.keys.size).toBe(4);
    const keepAlive = () => tendEach(mine.keys, (key) => mine.service.keepAlive(key));
    await keepAlive();
    expect(vault.calls.at(-1)).toMatch(/^update .* sign,verify$/);
    await mine.service.deleteStale();
    expect(vault.keys.size).toBe(4);
    // Time goes on for whoever looks at Key Vault's own only.
    clock.step(1);
    await mine.service.deleteStale();
    expect(vault.keys.size).toBe(4);
    await keepAlive();
    await mine.service.deleteStale();
    expect(vault.keys.size).toBe(3);
    await other.service.deleteStale();
    expect(vault.keys.size).toBe(3);
  });

  /** Two keys of another server, and one of ours that is two weeks younger. */
  async function withStale() {
    for (const digit of ["1", "2"]) vault.put(NAME.replace("1f", `${digit}f`), "EC", { tags: TAGS });
    clock.step(15 * DAY);
    const mine = open();
    await mine.keys.generateKey("a", "ec-p256");
    vault.calls.length = 0;
    return mine;
  }

  it("are deleted once where that is asked for again meanwhile, and whoever asks waits for it", async () => {
    const { service, keys } = await withStale();
    await using _ = keys;
    const { promise, resolve } = Promise.withResolvers<void>();
    vault.fault = (call) => (call.startsWith("delete") ? promise : undefined);
    let over = 0;
    const runs = [service.deleteStale(), service.deleteStale()].map((run) => run.then(() => over++));
    await expect.poll(() => calls("delete").length).toBe(1);
    runs.push(service.deleteStale().then(() => over++));
    await new Promise((turn) => setImmediate(turn));
    expect(over).toBe(0);
    resolve();
    await Promise.all(runs);
    expect(calls("list")).toHaveLength(1);
    expect(calls("delete")).toHaveLength(2);
    await service.deleteStale();
    expect(calls("list")).toHaveLength(2);
    expect(calls("delete")).toHaveLength(2);
  });

  it("are deleted also where one before them cannot be", async () => {
    const { service, keys } = await withStale();
    await using _ = keys;
    const [first = "", second = ""] = vault.keys.keys();
    vault.fault = (call) => {
      if (call === `delete ${first}`) throw restError(403, "Forbidden");
    };
    await service.deleteStale();
    expect(vault.keys.has(first)).toBe(true);
    expect(vault.keys.has(second)).toBe(false);
    expect(lines).toContainEqual({
      level: "warn",
      message: "a key of a server that is gone could not be given up",
      fields: expect.objectContaining({ key: first }) as unknown,
    });
  });

  it("stay where their server came back after they were listed", async () => {
    const { service, keys } = await withStale();
    await using _ = keys;
    const [first = "", second = ""] = vault.keys.keys();
    vault.fault = (call) => {
      if (call === `get ${first}`) vault.keys.get(first)!.updatedOn = new Date(clock.now());
      if (call === `get ${second}`) vault.keys.delete(second);
    };
    await service.deleteStale();
    expect(calls("delete")).toEqual([]);
    expect(vault.keys.has(first)).toBe(true);
  });

  it("are left alone from the moment that the manager is closed", async () => {
    const { service, keys } = await withStale();
    vault.fault = (call) => (call.startsWith("delete") ? new Promise(() => {}) : undefined);
    const run = service.deleteStale();
    run.catch(() => undefined);
    await expect.poll(() => calls("delete").length).toBe(1);
    await keys[Symbol.asyncDispose]();
    await expect(run).rejects.toThrowCode("KEY_UNAVAILABLE", /closed/);
    await expect(service.deleteStale()).rejects.toThrowCode("KEY_UNAVAILABLE", /closed/);
    expect(calls("delete")).toHaveLength(1);
    expect(calls("list")).toHaveLength(1);
  });
});
