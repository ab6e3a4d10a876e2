import { constants, existsSync } from "node:fs";
import { mkdir, open, rename } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { StoreFacts } from "../records.ts";
import { factsOf, removeRestoreLeftovers, RESTORE_COPY, SUFFIXES } from "./backup-copy.ts";
import { openDatabase } from "./database.ts";
import { storeFailure, unavailable } from "./failures.ts";
import { type HighWater, readHighWater } from "./high-water.ts";
import { takeStoreLock } from "./lock.ts";
import { createPrivateFolder } from "./private-file.ts";
import { putAhead, type Reached, type RestorePlan } from "./put-ahead.ts";

/** Where the files of the store that was there before are now; `undefined` where there was none. */
export type SetAside = string | undefined;

/**
 * Puts a copy in the place of the store at `path`, whose files are set aside. The copy is proved whole, brought to the newest
 * schema, and made to be ahead of everything that anybody may have seen of the store that it replaces.
 * @param fill Writes the copy, which was made by `copyTo`, to the path that it is given; called when nobody else has the store.
 * @param check Told what the copy is, and the store that is there if it can be read, before anything is done with them; it
 * throws to refuse the copy.
 * @param ready Writes what must be there before the store is; called when the copy is good and in nobody's place yet.
 * @throws AssayError `STORE_IN_USE` where a server runs, `STORE_TOO_NEW`, `STORE_UNAVAILABLE` for a damaged copy, and
 * what `check` and `ready` throw; what was there is then as it was. Where the disk itself fails half-way, the folder has no store
 * and its mark refuses an empty one, until the restore is done again.
 */
export async function restoreSqliteStore(
  path: string,
  fill: (copy: string) => Promise<void>,
  plan: RestorePlan,
  check: (facts: StoreFacts, present: StoreFacts | undefined) => void,
  ready: () => Promise<void> = async () => undefined,
): Promise<SetAside> {
  const home = dirname(path);
  createPrivateFolder(home);
  using _lock = takeStoreLock(path);
  await removeRestoreLeftovers(home);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => removeRestoreLeftovers(home));
  const copy = join(home, RESTORE_COPY);
  try {
    await fill(copy);
    const mark = readHighWater(path);
    const present = presentStore(path);
    proveWhole(copy, (facts) => check(facts, present?.facts));
    using database = openDatabase(copy, undefined);
    putAhead(database, plan, furthest(mark, present));
    database.exec("pragma journal_mode = delete");
  } catch (error) {
    throw storeFailure(error, copy);
  }
  await ready();
  try {
    const aside = await setAside(path, plan.now);
    await rename(copy, path);
    await using folder = await open(home, constants.O_RDONLY | constants.O_DIRECTORY);
    await folder.sync();
    return aside;
  } catch (error) {
    throw storeFailure(error, path);
  }
}

/** The store that is to be replaced. */
interface PresentStore {
  readonly facts: StoreFacts;
  readonly statusLists: number;
}

/** What there is to be replaced; `undefined` where there is nothing, or a store that is past reading. */
function presentStore(path: string): PresentStore | undefined {
  if (!existsSync(path)) return undefined;
  try {
    using database = new DatabaseSync(path, { readOnly: true });
    const facts = factsOf(database, path);
    return { facts, statusLists: statusListsOf(database) };
  } catch {
    return undefined;
  }
}

function statusListsOf(database: DatabaseSync): number {
  // Stores of old versions have none.
  const table = database.prepare("select 1 from sqlite_schema where name = 'status_lists'").get();
  if (table === undefined) return 0;
  return Number(database.prepare("select coalesce(max(list) + 1, 0) as n from status_lists").get()?.["n"]);
}

function proveWhole(copy: string, check: (facts: StoreFacts) => void): void {
  using database = new DatabaseSync(copy);
  check(factsOf(database, copy));
  for (const pragma of ["integrity_check", "foreign_key_check"]) {
    const found = database.prepare(`pragma ${pragma}`).get();
    if (found !== undefined && found["integrity_check"] !== "ok") {
      throw unavailable(copy, `it is damaged (${JSON.stringify(Object.values(found)[0])})`);
    }
  }
}

/** How far a store had come: as its mark says, or as it says itself where nobody had the time to write that down. */
function furthest(marked: HighWater | undefined, present: PresentStore | undefined): Reached {
  const { mark = 0, bundleSequence = 0n, changes = 0, restoredAt = 0 } = marked ?? {};
  const own = present?.facts.bundleSequence ?? 0n;
  return {
    mark,
    bundleSequence: own > bundleSequence ? own : bundleSequence,
    changes: Math.max(present?.facts.changes ?? 0, changes),
    restoredAt,
    statusLists: present?.statusLists ?? 0,
  };
}

async function setAside(path: string, now: number): Promise<SetAside> {
  const stamp = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  let aside: SetAside;
  // The log first: a database without the log that belongs to it is still a whole one of some moments before.
  for (const suffix of SUFFIXES.toReversed()) {
    if (!existsSync(`${path}${suffix}`)) continue;
    aside ??= await newFolder(join(dirname(path), `store-before-${stamp}`));
    await rename(`${path}${suffix}`, join(aside, `${basename(path)}${suffix}`));
  }
  return aside;
}

/** Two restores of one second set two stores aside. */
async function newFolder(path: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? path : `${path}-${n}`;
    try {
      await mkdir(name, { mode: 0o700 });
      return name;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}
