import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { authority, credential, newEntry, node, OWN, task } from "../../../test/contract/store-samples.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { StoreFacts } from "../records.ts";
import { copySqliteStore } from "./backup-copy.ts";
import { restoreSqliteStore } from "./backup-restore.ts";
import { highWaterPath, readHighWater } from "./high-water.ts";
import { openSqliteStore } from "./open.ts";
import type { RestorePlan } from "./put-ahead.ts";

let folder: string;
let path: string;
let clock: FakeClock;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-backup-"));
  path = join(folder, "store.sqlite");
  clock = new FakeClock();
});
afterEach(() => rm(folder, { recursive: true }));

const open = () => openSqliteStore({ path, trustDomain: OWN, clock });
const at = (name: string) => join(folder, name);
/** Restores a file that stands there as a copy. */
const restoreFrom = (copy: string, of: RestorePlan, check: (facts: StoreFacts) => void = () => {}) =>
  restoreSqliteStore(path, (target) => copyFile(copy, target), of, check);

function plan(change: Partial<RestorePlan> = {}): RestorePlan {
  return { now: clock.now(), backupAt: 1, keepAuthorities: false, keepAgents: false, ...change };
}

describe("a copy of a store", () => {
  it("holds all that was durable when it was made, and is one private file that says what it is", async () => {
    await using store = await open();
    await store.entries.create([newEntry("a"), newEntry("b")]);
    await store.authorities.commit({ put: [authority("one")] }, (bundle) => ({ ...bundle, refreshHint: 9 }));
    const facts = await store.backups.copyTo(at("copy"));
    await store.entries.create([newEntry("later")]);
    expect(facts).toMatchObject({ trustDomain: OWN, bundleSequence: 1n, changes: 4 });
    expect((await stat(at("copy"))).mode & 0o777).toBe(0o600);
    expect((await readdir(folder)).filter((name) => name.startsWith("copy"))).toEqual(["copy"]);
    using copy = new DatabaseSync(at("copy"), { readOnly: true });
    expect(
      copy
        .prepare("select id from entries order by id")
        .all()
        .map(({ id }) => id),
    ).toEqual(["a", "b"]);
    expect(copy.prepare("pragma integrity_check").get()).toEqual({ integrity_check: "ok" });
  });

  it("is whole though others write without a pause, and holds none of them up", async () => {
    await using store = await open();
    await store.entries.create(Array.from({ length: 5000 }, (_, n) => newEntry(`n${n}`)));
    let copying = true;
    let written = 0;
    const writer = (async () => {
      while (copying) {
        await store.entries.create([newEntry(`w${written}-0`), newEntry(`w${written}-1`)]);
        written++;
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await expect.poll(() => written).toBeGreaterThan(5);
    const before = written;
    for (let n = 0; n < 10; n++) await store.backups.copyTo(at(`copy-${n}`));
    copying = false;
    await writer;
    expect(written - before).toBeGreaterThan(5);
    for (let n = 0; n < 10; n++) {
      using copy = new DatabaseSync(at(`copy-${n}`), { readOnly: true });
      expect(copy.prepare("pragma integrity_check").get()).toEqual({ integrity_check: "ok" });
      // Each write is two entries and two rows of the log: a copy has both or neither.
      const count = (table: string) =>
        Number(copy.prepare(`select count(*) as n from ${table}`).get()?.["n"]);
      expect(count("entries")).toBe(count("changes"));
      expect(count("entries") % 2).toBe(0);
    }
  });

  it("leaves nothing where it cannot be made", async () => {
    await using store = await open();
    await expect(store.backups.copyTo(join(folder, "absent", "copy"))).rejects.toThrowCode(
      "STORE_UNAVAILABLE",
      /absent/,
    );
    await expect(copySqliteStore(at("nothing"), at("copy"))).rejects.toThrowCode("STORE_UNAVAILABLE");
    expect(await readdir(folder)).not.toContain("copy");
  });
});

describe("a restored store", () => {
  it("is ahead of all that was seen of the one it replaces, of restores before too", async () => {
    let store = await open();
    const touch = (hint: number) =>
      store.authorities.commit({}, (bundle) => ({ ...bundle, refreshHint: hint }));
    await touch(1);
    await store.entries.create([newEntry("a")]);
    await store.backups.copyTo(at("copy"));
    await copyFile(at("copy"), at("copy-2"));
    for (let n = 2; n < 9; n++) await touch(n);
    await store.entries.update([{ id: "a", content: newEntry("a").content }]);
    const seen = { sequence: (await touch(1)).sequence, changes: await store.changes.latest(), revision: 1 };
    for (const copy of ["copy", "copy-2"]) {
      await store[Symbol.asyncDispose]();
      expect(await restoreFrom(at(copy), plan())).toMatch(/store-before-\d{8}T\d{6}Z$/);
      store = await open();
      const { sequence } = (await store.bundles.get(OWN)) ?? { sequence: 0n };
      expect(sequence).toBeGreaterThan(seen.sequence);
      expect(await store.changes.latest()).toBeGreaterThan(seen.changes);
      // Whoever follows from a position of before is told to read everything anew.
      expect(await store.changes.since(seen.changes, 10)).toBeUndefined();
      const [entry] = await store.entries.get(["a"]);
      expect(entry?.revision).toBeGreaterThan(seen.revision);
      // A row that is written now comes after what everybody has seen.
      await store.entries.create([newEntry("new")]);
      seen.sequence = (await touch(77)).sequence;
      seen.changes = await store.changes.latest();
      seen.revision = entry?.revision ?? 0;
      await clock.advance(1000);
    }
    await store[Symbol.asyncDispose]();
  });

  it("is ahead of one that was restored while the clock was ahead, and changed since", async () => {
    let store = await open();
    await store.entries.create([newEntry("a")]);
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();
    await restoreFrom(at("copy"), plan({ now: clock.now() + 86_400_000 }));
    store = await open();
    for (let n = 0; n < 3; n++) {
      await store.entries.update([{ id: "a", content: { ...newEntry("a").content, hint: `${n}` } }]);
    }
    const [seen] = await store.entries.get(["a"]);
    await store[Symbol.asyncDispose]();
    await restoreFrom(at("copy"), plan());
    await using again = await open();
    const [entry] = await again.entries.get(["a"]);
    expect(entry?.revision).toBeGreaterThan(seen?.revision ?? 0);
  });

  it("is ahead of what a killed server wrote after its last mark, though the clock was set back", async () => {
    const store = await open();
    await store.authorities.commit({}, (bundle) => ({ ...bundle, refreshHint: 9 }));
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();
    await restoreFrom(at("copy"), plan({ now: clock.now() + 86_400_000 }));
    const killed = await mkdtemp(join(tmpdir(), "assay-killed-"));
    try {
      const running = await open();
      for (let n = 0; n < 5; n++) await running.entries.create([newEntry(`n${n}`)]);
      for (let n = 0; n < 5; n++) {
        await running.authorities.commit({}, (bundle) => ({ ...bundle, refreshHint: n }));
      }
      const changes = await running.changes.latest();
      const sequence = (await running.bundles.get(OWN))?.sequence ?? 0n;
      for (const suffix of ["", "-wal", ".mark"]) {
        await copyFile(`${path}${suffix}`, join(killed, `store.sqlite${suffix}`));
      }
      await running[Symbol.asyncDispose]();
      const target = join(killed, "store.sqlite");
      await restoreSqliteStore(
        target,
        (copy) => copyFile(at("copy"), copy),
        plan(),
        () => {},
      );
      await using again = await openSqliteStore({ path: target, trustDomain: OWN, clock });
      expect(await again.changes.latest()).toBeGreaterThan(changes);
      expect((await again.bundles.get(OWN))?.sequence).toBeGreaterThan(sequence);
    } finally {
      await rm(killed, { recursive: true });
    }
  });

  it("takes nothing a second time that was good once, and lets nothing of before go on", async () => {
    const store = await open();
    await store.joinTokens.create({ hash: "unused", expiresAt: 9e9 });
    await store.joinTokens.create({ hash: "used", expiresAt: 9e9 });
    await store.joinTokens.consume("used", 5);
    await store.tasks.open(task("t"), { replayKey: "known", until: 9e9 });
    await store.credentials.record([credential("c", { taskId: "t", expiresAt: 9e9 })]);
    const place = await store.credentials.reserveStatus(9e9);
    await store.nodes.attested({ ...node("n"), serial: "ab", pendingSerial: "cd", pendingExpiresAt: 7 });
    await store.authorities.commit({ put: [authority("one")] }, (bundle) => bundle);
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();

    await restoreFrom(at("copy"), plan({ backupAt: 4 }));
    await using again = await open();
    expect(await again.joinTokens.consume("unused", 6)).toEqual({ outcome: "unknown" });
    expect(await again.joinTokens.consume("used", 6)).toEqual({ outcome: "used" });
    const replayed = await again.tasks.open(task("u"), { replayKey: "known", until: 9e9 });
    expect(replayed.outcome).toBe("replayed");
    const now = Math.floor(clock.now() / 1000);
    expect(await again.tasks.get("t")).toMatchObject({ state: "ending", endedAt: now });
    expect(await again.credentials.get(credential("c").kind, "c")).toMatchObject({ revokedAt: now });
    expect((await again.nodes.get([node("n").id]))[0]).toMatchObject({ serial: "", pendingSerial: "" });
    const restored = await again.backups.restored();
    expect(restored).toMatchObject({ at: now, backupAt: 4, authorities: ["one"], told: false });
    // No token gets a place that an unknown one may have.
    const next = await again.credentials.reserveStatus(9e9);
    expect(next.list).toBeGreaterThan(place.list);
    expect(next.list).toBe(restored?.statusLists);
    await again.backups.settle({ told: true });
    expect(await again.backups.restored()).toEqual({ ...restored, told: true });
  });

  it("gives no place in a status list that was given after the same backup was restored before", async () => {
    let store = await open();
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();
    const lists: number[] = [];
    for (let n = 0; n < 3; n++) {
      await restoreFrom(at("copy"), plan());
      store = await open();
      lists.push((await store.credentials.reserveStatus(9e9)).list);
      await store[Symbol.asyncDispose]();
      await clock.advance(60_000);
    }
    expect(new Set(lists).size).toBe(3);
    expect(lists.toSorted((a, b) => a - b)).toEqual(lists);
  });

  it("remembers when it was restored beside the store, and never the same time or an earlier one", async () => {
    let store = await open();
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();
    const late = plan({ now: clock.now() + 86_400_000 });
    await restoreFrom(at("copy"), late);
    store = await open();
    const first = await store.backups.restored();
    await store[Symbol.asyncDispose]();
    expect(readHighWater(path)?.restoredAt).toBe(first?.at);
    // The clock was ahead and is right again. Revocation lists are numbered from that time on.
    await restoreFrom(at("copy"), plan());
    await using again = await open();
    expect((await again.backups.restored())?.at).toBeGreaterThan(first?.at ?? 0);
  });

  it("keeps agents and authorities as they are where that is asked for", async () => {
    const store = await open();
    await store.nodes.attested({ ...node("n"), serial: "ab" });
    await store.authorities.commit({ put: [authority("one")] }, (bundle) => bundle);
    await store.backups.copyTo(at("copy"));
    await store[Symbol.asyncDispose]();
    await restoreFrom(at("copy"), plan({ keepAgents: true, keepAuthorities: true }));
    await using again = await open();
    expect((await again.nodes.get([node("n").id]))[0]?.serial).toBe("ab");
    expect(await again.backups.restored()).toMatchObject({ authorities: [] });
  });

  it("is refused while a server has the store, and where the copy is damaged, a stranger's or refused", async () => {
    const store = await open();
    await store.entries.create(Array.from({ length: 500 }, (_, n) => newEntry(`n${n}`)));
    await store.backups.copyTo(at("good"));
    const prepared = async () => {
      await copyFile(at("good"), at("copy"));
      return at("copy");
    };
    const restore = (copy: string, check = () => {}) => restoreFrom(copy, plan(), check);
    await expect(restore(await prepared())).rejects.toThrowCode("STORE_IN_USE");
    await store[Symbol.asyncDispose]();
    const before = await readFile(path);

    await prepared();
    const bytes = await readFile(at("copy"));
    bytes.fill(0xff, bytes.length / 2, bytes.length / 2 + 8192);
    await writeFile(at("copy"), bytes);
    await expect(restore(at("copy"))).rejects.toThrowCode("STORE_UNAVAILABLE", /damaged|cannot be used/);
    await writeFile(at("copy"), "no database at all, only some text\n".repeat(200));
    await expect(restore(at("copy"))).rejects.toThrowCode("STORE_UNAVAILABLE", /not a database/);
    await writeFile(at("copy"), "");
    await expect(restore(at("copy"))).rejects.toThrowCode("STORE_UNAVAILABLE", /empty/);
    const refused = restore(await prepared(), () => {
      throw new Error("not this one");
    });
    await expect(refused).rejects.toThrow("not this one");
    expect((await readFile(path)).equals(before)).toBe(true);
    expect((await readdir(folder)).filter((name) => /restore|before/.test(name))).toEqual([]);
    await (await open())[Symbol.asyncDispose]();
  });
});

describe("two restores at once", () => {
  it("are one restore, and one that is refused before it has touched anything", async () => {
    const store = await open();
    await store.backups.copyTo(at("good"));
    await store[Symbol.asyncDispose]();
    const [copied, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const first = restoreSqliteStore(
      path,
      async (target) => {
        await copyFile(at("good"), target);
        copied.resolve();
        await go.promise;
      },
      plan(),
      () => {},
    );
    await copied.promise;
    await expect(restoreFrom(at("good"), plan())).rejects.toThrowCode("STORE_IN_USE");
    await expect(open()).rejects.toThrowCode("STORE_IN_USE");
    go.resolve();
    await first;
    await using restored = await open();
    expect(await restored.backups.restored()).toMatchObject({ backupAt: 1 });
  });

  it("of one second set two stores aside", async () => {
    const store = await open();
    await store.backups.copyTo(at("good"));
    await store[Symbol.asyncDispose]();
    const asides = [await restoreFrom(at("good"), plan()), await restoreFrom(at("good"), plan())];
    expect(asides[1]).toBe(`${asides[0] ?? ""}-2`);
    for (const aside of asides) expect(await readdir(aside ?? "")).toContain("store.sqlite");
    await (await open())[Symbol.asyncDispose]();
  });

  it("leave nothing where they are killed: the next restore and the next server clear up", async () => {
    const store = await open();
    await store.backups.copyTo(at("good"));
    await store[Symbol.asyncDispose]();
    const killed = [".restore-store", ".restore-store-journal", "..restore-store.1.0.tmp"];
    const leave = () => Promise.all(killed.map((name) => writeFile(at(name), "half of it")));
    const left = async () => (await readdir(folder)).filter((name) => name.includes("restore-store"));
    await leave();
    await restoreFrom(at("good"), plan());
    expect(await left()).toEqual([]);
    await leave();
    await (await open())[Symbol.asyncDispose]();
    expect(await left()).toEqual([]);
  });

  it("say what the system said where a file cannot be moved", async () => {
    const store = await open();
    await store.backups.copyTo(at("good"));
    await store[Symbol.asyncDispose]();
    const fill = async (target: string) => {
      await copyFile(at("good"), target);
      // Nobody can open a database of this name.
      await rm(target);
      await mkdir(target);
    };
    await expect(restoreSqliteStore(path, fill, plan(), () => {})).rejects.toThrowCode("STORE_UNAVAILABLE");
    const fails = async () => {
      throw Object.assign(new Error("EIO"), { errno: -5, code: "EIO", syscall: "write" });
    };
    await expect(restoreSqliteStore(path, fails, plan(), () => {})).rejects.toThrowCode(
      "STORE_UNAVAILABLE",
      /i\/o error, EIO/,
    );
  });
});

describe("a store that somebody turned back by hand", () => {
  it("is refused with the two ways out, whatever was written since the copy", async () => {
    let store = await open();
    await store[Symbol.asyncDispose]();
    await copyFile(path, at("old"));
    store = await open();
    await store[Symbol.asyncDispose]();
    await copyFile(at("old"), path);
    await expect(open()).rejects.toThrowCode(
      "STORE_OUTDATED",
      /assay restore --replace.*store\.sqlite\.mark/,
    );
    // Nothing was written to it meanwhile, and once more it is refused.
    await expect(open()).rejects.toThrowCode("STORE_OUTDATED");
    await rm(path);
    await expect(open()).rejects.toThrowCode("STORE_OUTDATED", /begin anew with nothing/);
    await rm(path);
    await rm(highWaterPath(path));
    await (await open())[Symbol.asyncDispose]();
  });

  it("is noticed though nothing but a token was used up after the copy, and the server was killed", async () => {
    const store = await open();
    await store.joinTokens.create({ hash: "one", expiresAt: 9e9 });
    await store.backups.copyTo(at("old"));
    await store.joinTokens.consume("one", 5);
    const { mark } = readHighWater(path) ?? { mark: 0 };
    await clock.advance(5000);
    await expect.poll(() => readHighWater(path)?.mark).toBe(mark + 1);
    // As a kill leaves it: nothing is said to the store any more.
    const killed = await mkdtemp(join(tmpdir(), "assay-killed-"));
    try {
      await copyFile(at("old"), join(killed, "store.sqlite"));
      await copyFile(highWaterPath(path), highWaterPath(join(killed, "store.sqlite")));
      const reopened = openSqliteStore({ folder: killed, trustDomain: OWN, clock });
      await expect(reopened).rejects.toThrowCode("STORE_OUTDATED");
    } finally {
      await rm(killed, { recursive: true });
      await store[Symbol.asyncDispose]();
    }
  });

  it("writes no mark while nothing is written to the store", async () => {
    await using _store = await open();
    const { mark } = readHighWater(path) ?? { mark: 0 };
    const { pending } = clock;
    for (let n = 0; n < 5; n++) {
      await clock.advance(5000);
      // The next look is due when this one is over.
      await expect.poll(() => clock.pending).toBe(pending);
    }
    expect(readHighWater(path)?.mark).toBe(mark);
  });

  it.each([
    "",
    "mark",
    "mark 1 bundle 2 changes 3",
    "mark -1 bundle 2 changes 3\n",
    "mark 1 bundle x changes 3\n",
  ])("says of a mark that it is damaged (%j)", async (text) => {
    await (await open())[Symbol.asyncDispose]();
    await writeFile(highWaterPath(path), text);
    await expect(open()).rejects.toThrowCode("STORE_UNAVAILABLE", /mark cannot be used: it is damaged/);
  });

  it("names the ways out where the mark is damaged, and takes them", async () => {
    const store = await open();
    await store.backups.copyTo(at("good"));
    await store[Symbol.asyncDispose]();
    await writeFile(highWaterPath(path), "");
    await expect(open()).rejects.toThrowCode("STORE_UNAVAILABLE", /assay restore --replace.*or remove it/);
    await rm(highWaterPath(path));
    await restoreFrom(at("good"), plan());
    await (await open())[Symbol.asyncDispose]();
  });

  it("is told of once where the mark cannot be written, and again after it could be", async () => {
    const faults: unknown[] = [];
    const store = await openSqliteStore({
      path,
      trustDomain: OWN,
      clock,
      onMarkFault: (error) => faults.push(error),
    });
    const touch = async (id: string) => {
      await store.entries.create([newEntry(id)]);
      await clock.advance(5000);
      await expect.poll(() => clock.pending).toBeGreaterThan(0);
    };
    // Nothing can be put in the place of a folder that holds something.
    const block = async () => {
      await rm(highWaterPath(path), { force: true });
      await mkdir(join(highWaterPath(path), "x"), { recursive: true });
    };
    await block();
    await touch("a");
    await expect.poll(() => faults.length).toBe(1);
    for (const id of ["b", "c"]) await touch(id);
    expect(faults).toHaveLength(1);
    expect(String(faults[0])).toMatch(/mark cannot be used: it cannot be written/);
    await rm(highWaterPath(path), { recursive: true });
    await touch("d");
    await expect.poll(() => readHighWater(path)?.mark).toBeGreaterThan(0);
    await block();
    await touch("e");
    await expect.poll(() => faults.length).toBe(2);
    await rm(highWaterPath(path), { recursive: true });
    await store[Symbol.asyncDispose]();
  });

  it("goes on where the mark is behind, as after a power cut between the two writes", async () => {
    const store = await open();
    const before = await readFile(highWaterPath(path));
    await store[Symbol.asyncDispose]();
    await (await open())[Symbol.asyncDispose]();
    await writeFile(highWaterPath(path), before);
    await chmod(highWaterPath(path), 0o600);
    await (await open())[Symbol.asyncDispose]();
  });
});
