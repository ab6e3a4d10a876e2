import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  authority,
  changesAfter,
  credential,
  FOREIGN,
  foreignBundle,
  fullContent,
  newEntry,
  node,
  OWN,
  task,
} from "../../../test/contract/store-samples.ts";
import { ENTRY_DEFAULTS } from "../../../test/fakes/entry-defaults.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { openDatabase } from "./database.ts";
import { MIGRATIONS } from "./migrations.ts";
import { openSqliteStore, type SqliteStoreOptions } from "./open.ts";

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-store-"));
  path = join(folder, "store.sqlite");
});
afterEach(() => rm(folder, { recursive: true }));

function open(options: Partial<SqliteStoreOptions> & { folder?: string } = {}) {
  return openSqliteStore({ folder, trustDomain: OWN, clock: new FakeClock(), ...options });
}

describe("openSqliteStore", () => {
  it("makes a private folder with private files", async () => {
    const inner = join(folder, "a", "b");
    await using store = await open({ folder: inner });
    await store.check();
    const mode = async (name: string) => (await stat(join(inner, name))).mode & 0o777;
    expect(await mode(".")).toBe(0o700);
    for (const name of ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite.lock"]) {
      expect([name, await mode(name)]).toEqual([name, 0o600]);
    }
  });

  it("takes away what others may do with a file that is there already", async () => {
    await writeFile(path, "", { mode: 0o644 });
    await using _store = await open();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("opens one named file as well as a folder", async () => {
    const store = await openSqliteStore({ path, trustDomain: OWN, clock: new FakeClock() });
    await store.entries.create([newEntry("a")]);
    await store[Symbol.asyncDispose]();
    await using again = await open();
    expect(await again.entries.get(["a"])).toHaveLength(1);
  });

  it("refuses a store that this process has open already, until it is closed", async () => {
    const first = await open();
    for (let n = 0; n < 3; n++) await expect(open()).rejects.toThrowCode("STORE_IN_USE", path);
    await first.check();
    await first[Symbol.asyncDispose]();
    await using second = await open();
    await second.check();
  });

  it("refuses a store that another process has, and lets go of it when that process is killed", async () => {
    const child = startChild("hold");
    try {
      await child.line();
      await expect(open()).rejects.toThrowCode("STORE_IN_USE", /stop that one first/);
    } finally {
      await child.kill();
    }
    await using store = await open();
    await store.check();
  });

  it("can be read by an inspector while it is open", async () => {
    await using store = await open();
    await store.entries.create([newEntry("a")]);
    using inspector = new DatabaseSync(path, { readOnly: true });
    expect(inspector.prepare("select id from entries").all()).toEqual([{ id: "a" }]);
    await store.entries.create([newEntry("b")]);
    expect(inspector.prepare("select count(*) as n from entries").get()).toEqual({ n: 2 });
  });

  it("writes ahead into a log, follows each commit to the disk, and keeps references", () => {
    using database = openDatabase(path, undefined);
    const pragma = (name: string) => Object.values(database.prepare(`pragma ${name}`).get() ?? {})[0];
    expect(pragma("journal_mode")).toBe("wal");
    expect(pragma("synchronous")).toBe(2);
    expect(pragma("foreign_keys")).toBe(1);
    expect(pragma("busy_timeout")).toBe(1000);
    expect(pragma("application_id")).toBe(0x41737379);
    expect(database.prepare("select version from schema_version").all()).toEqual([
      { version: MIGRATIONS.length },
    ]);
  });

  it("refuses a store that a newer program wrote, naming both versions, and leaves it alone", async () => {
    await (await open())[Symbol.asyncDispose]();
    tamper("update schema_version set version = 9");
    await expect(open()).rejects.toThrowCode("STORE_TOO_NEW", /version 9.*up to \d+.*newer program/);
    tamper(`update schema_version set version = ${MIGRATIONS.length}`);
    await using store = await open();
    await store.check();
  });

  it("refuses the store of another trust domain", async () => {
    await (await open())[Symbol.asyncDispose]();
    const other = open({ trustDomain: parseTrustDomain("other.example") });
    await expect(other).rejects.toThrowCode("CONFIG_INVALID", /example\.org.*other\.example/);
    await using store = await open();
    await store.check();
  });

  it("refuses a file that is no database, naming it", async () => {
    await writeFile(path, "this is certainly not a database, only a text of some length\n".repeat(100));
    await expect(open()).rejects.toThrowCode(
      "STORE_UNAVAILABLE",
      `${path} cannot be used: it is not a database`,
    );
  });

  it("refuses the database of another program and does not touch it", async () => {
    const other = new DatabaseSync(path);
    other.exec("create table mine (a); pragma user_version = 3");
    other.close();
    await expect(open()).rejects.toThrowCode("STORE_UNAVAILABLE", /another program/);
    using again = new DatabaseSync(path);
    expect(again.prepare("select name from sqlite_schema").all()).toEqual([{ name: "mine" }]);
    expect(again.prepare("pragma journal_mode").get()).toEqual({ journal_mode: "delete" });
  });

  it("says that a damaged store is damaged", async () => {
    const store = await open();
    await store.entries.create(Array.from({ length: 500 }, (_, n) => newEntry(`n${n}`)));
    await store[Symbol.asyncDispose]();
    const { size } = await stat(path);
    const { open: openFile } = await import("node:fs/promises");
    const file = await openFile(path, "r+");
    await file.write(Buffer.alloc(size - 8192, 0xff), 0, size - 8192, 8192);
    await file.close();
    const use = async () => {
      await using damaged = await open();
      await damaged.entries.list(0, 10_000);
    };
    await expect(use()).rejects.toThrowCode("STORE_UNAVAILABLE", path);
  });

  it("refuses a folder that cannot be made and a path that is a folder", async () => {
    await writeFile(join(folder, "file"), "");
    await expect(open({ folder: join(folder, "file", "x") })).rejects.toThrowCode(
      "STORE_UNAVAILABLE",
      /cannot be made/,
    );
    await expect(open({ folder: "/proc/assay" })).rejects.toThrowCode("STORE_UNAVAILABLE", "/proc/assay");
    await mkdir(path);
    await expect(open()).rejects.toThrowCode("STORE_UNAVAILABLE", path);
  });
});

describe("a store that cannot be written", () => {
  it("says that it is full, keeps nothing of the batch, and goes on reading", async () => {
    await using store = await open({ maxPages: 60 });
    let created = 0;
    const fill = async () => {
      for (;;) {
        await store.entries.create(Array.from({ length: 20 }, (_, n) => newEntry(`${created}-${n}`)));
        created += 20;
      }
    };
    await expect(fill()).rejects.toThrowCode("STORE_UNAVAILABLE", /full/);
    expect(created).toBeGreaterThan(0);
    expect(await store.entries.list(0, 10_000)).toHaveLength(created);
    expect(await changesAfter(store, 0)).toHaveLength(created);
    expect(await store.entries.delete(["0-0"])).toEqual([true]);
  });

  it("waits no longer than a second for a foreign writer, and writes once it has gone", async () => {
    await using store = await open();
    using intruder = new DatabaseSync(path);
    intruder.exec("begin immediate");
    await expect(store.entries.create([newEntry("a")])).rejects.toThrowCode("STORE_UNAVAILABLE", /lock/);
    await expect(store.check()).rejects.toThrowCode("STORE_UNAVAILABLE", /lock/);
    intruder.exec("rollback");
    expect(await store.entries.list(0, 10)).toEqual([]);
    expect((await store.entries.create([newEntry("a")]))[0]?.outcome).toBe("created");
  });

  it("leaves neither the change nor its row where the log cannot be written", async () => {
    await using store = await open();
    tamper(
      "create trigger fault before insert on changes when new.key = 'n150' begin select raise(abort, 'fault'); end",
    );
    const batch = Array.from({ length: 200 }, (_, n) => newEntry(`n${n}`));
    await expect(store.entries.create(batch)).rejects.toThrow("fault");
    expect(await store.entries.list(0, 10)).toEqual([]);
    expect(await store.changes.latest()).toBe(0);
    expect((await store.entries.create([newEntry("a")]))[0]?.outcome).toBe("created");
  });
});

describe("a full disk under tasks", () => {
  it("refuses all that shared the transaction, loses nothing that was answered, and goes on when there is room", async () => {
    await using store = await open({ maxPages: 60 });
    const answered: string[] = [];
    let refused = 0;
    for (let n = 0; refused === 0 && n < 100; n++) {
      const openings = await Promise.allSettled(
        Array.from({ length: 40 }, async (_, m) => {
          const name = `${n}-${m}`;
          await store.tasks.open(task(name), { replayKey: name, until: 1 });
          answered.push(name);
        }),
      );
      for (const opening of openings) {
        if (opening.status === "fulfilled") continue;
        refused++;
        expect(() => {
          throw opening.reason;
        }).toThrowCode("STORE_UNAVAILABLE", /full/);
      }
    }
    expect(refused).toBeGreaterThan(0);
    expect(answered.length).toBeGreaterThan(0);
    const live = (await store.tasks.live()).map(({ id }) => id);
    expect(live.toSorted()).toEqual(answered.toSorted());
    expect(await changesAfter(store, 0)).toHaveLength(answered.length);
    for (const id of live.slice(0, 20)) {
      await store.tasks.end(id, "job", 1);
      await store.tasks.close(id);
    }
    expect(await store.tasks.prune(10)).toBe(answered.length + 20);
    expect((await store.tasks.open(task("again"), { replayKey: "again", until: 1 })).outcome).toBe("opened");
  });
});

describe("places in status lists", () => {
  it("begins the next list when half of one is taken, and goes back when places are freed", async () => {
    let next = 0;
    await using store = await open({ randomBelow: (bound) => next++ % bound });
    const first = await store.credentials.reserveStatus(10);
    expect(first).toEqual({ list: 0, index: 0 });
    tamper(`update status_lists set taken = ${2 ** 16 - 1}`);
    expect(await store.credentials.reserveStatus(10)).toEqual({ list: 0, index: 1 });
    expect((await store.credentials.reserveStatus(1000)).list).toBe(1);
    await store.credentials.prune(11);
    next = 0;
    expect(await store.credentials.reserveStatus(1000)).toEqual({ list: 0, index: 0 });
  });

  it("passes over places that are taken", async () => {
    const places = [7, 7, 7, 9];
    await using store = await open({ randomBelow: () => places.shift() ?? 0 });
    expect((await store.credentials.reserveStatus(10)).index).toBe(7);
    expect((await store.credentials.reserveStatus(10)).index).toBe(9);
  });
});

describe("a store that version 2 wrote", () => {
  it("is taken to the newest version with all that was in it, and works", async () => {
    const written = new URL("../../../test/contract/store-version-2.sqlite.gz", import.meta.url);
    await writeFile(path, gunzipSync(await readFile(written)));
    await using store = await open();
    const entries = await store.entries.list(0, 10);
    expect(entries.map(({ id, revision }) => `${id} ${revision}`)).toEqual(["plain 1", "full 0", "alias 0"]);
    const { idTemplate, maxTaskDuration, exchangeAudiences, svidKeyType } = ENTRY_DEFAULTS;
    const extension = { idTemplate, maxTaskDuration, exchangeAudiences, svidKeyType };
    expect(entries[1]).toEqual({
      ...fullContent("/full"),
      ...extension,
      id: "full",
      createdAt: 1_700_000_001,
      revision: 0,
      ordinal: 2,
    });
    expect(entries[0]).toMatchObject({ hint: "second", ...extension });
    expect((await store.nodes.list(0, 10)).map(({ id }) => id)).toEqual([node("n").id]);
    expect(await store.authorities.list()).toEqual([authority("a1")]);
    expect(await store.bundles.get(FOREIGN)).toEqual(foreignBundle());
    expect(await store.changes.latest()).toBe(10);
    // What makes entries similar is as it was.
    expect((await store.entries.create([{ ...newEntry("plain"), id: "x" }]))[0]?.outcome).toBe("similar");
    expect((await store.nodes.delete([node("n").id]))[0]).toBe(true);
    expect(await store.entries.get(["alias"])).toEqual([]);
    expect((await store.tasks.open(task("a"), { replayKey: "r", until: 9 })).outcome).toBe("opened");
    expect(await store.credentials.record([credential("c", { taskId: "a" })])).toBe(true);
  });
});

describe("a kill in the middle of a burst", () => {
  it("leaves every acknowledged batch, and every other batch whole or not at all, five times over", async () => {
    let next = 0;
    for (let round = 0; round < 5; round++) {
      const child = startChild("burst", next);
      await child.line();
      let acknowledged = next - 1;
      for (let n = 0; n < 20 + 7 * round; n++) acknowledged = Number(await child.line());
      await child.kill();
      await using store = await open();
      const entries = await store.entries.list(0, 10_000);
      const batches = Map.groupBy(entries, (entry) => Number(entry.id.split("-")[0]));
      expect([...batches.values()].every((batch) => batch.length === 10)).toBe(true);
      for (let batch = 0; batch <= acknowledged; batch++) expect(batches.has(batch)).toBe(true);
      expect(await changesAfter(store, 0)).toHaveLength(entries.length);
      next = batches.size;
    }
  }, 60_000);
});

describe("a kill in the middle of many tasks", () => {
  it("leaves every step that was answered, every other whole or not at all, and uses no evidence twice", async () => {
    let batch = 0;
    for (let round = 0; round < 3; round++) {
      const child = startChild("tasks", batch);
      await child.line();
      const answered: string[] = [];
      for (let n = 0; n < 120 + 61 * round; n++) answered.push(await child.line());
      await child.kill();
      await using store = await open();
      for (const [step, name = ""] of answered.map((line) => line.split(" "))) {
        const found = await store.tasks.get(name);
        const issued = await store.credentials.get("x509", name);
        expect(found).toBeDefined();
        if (step !== "opened") expect(issued).toBeDefined();
        if (step === "ended") expect([found?.state, issued?.revokedAt]).toEqual(["ending", 60]);
        const again = await store.tasks.open(
          { ...task(name), id: "again" },
          { replayKey: name, until: 1000 },
        );
        expect(again.outcome).toBe("replayed");
      }
      // Of what was under way, a task that is ending has its credential revoked, and one that is active has not.
      const all = await store.tasks.list(0, 10_000);
      for (const { id, state } of all) {
        const [issued, ...more] = await store.credentials.ofTask(id);
        expect(more).toEqual([]);
        if (state === "ending") expect(issued?.revokedAt).toBe(60);
        else expect(issued?.revokedAt ?? 0).toBe(0);
      }
      batch = Math.max(...all.map(({ id }) => Number(id.split("-")[0]))) + 1;
    }
  }, 60_000);
});

function tamper(sql: string): void {
  using database = new DatabaseSync(path);
  database.exec(sql);
}

function startChild(mode: string, start = 0) {
  const script = fileURLToPath(new URL("../../../test/contract/store-child.ts", import.meta.url));
  const child = spawn(process.execPath, [script, folder, mode, String(start)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    async line(): Promise<string> {
      const { value, done } = await lines.next();
      if (done === true) throw new Error("the child ended");
      return value;
    },
    async kill(): Promise<void> {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}
