import { constants, existsSync } from "node:fs";
import { mkdir, open, rename } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { RESTORED, writeRestored } from "../sql/backup.ts";
import type { StoreFacts } from "../records.ts";
import { factsOf, removeRestoreLeftovers, RESTORE_COPY, SUFFIXES } from "./backup-copy.ts";
import { openDatabase } from "./database.ts";
import { storeFailure, unavailable } from "./failures.ts";
import { type HighWater, readHighWater } from "./high-water.ts";
import { STORE_MARK } from "./high-water-keeper.ts";
import { takeStoreLock } from "./lock.ts";
import { createPrivateFolder } from "./private-file.ts";

/** What is to become of a store that is restored. */
export interface RestorePlan {
  /** Now, Unix milliseconds. */
  readonly now: number;
  /** When the backup was made, Unix seconds. */
  readonly backupAt: number;
  /** Whether the authorities of the backup go on; else they are replaced when a server starts. */
  readonly keepAuthorities: boolean;
  /** Whether agents go on with the SVIDs that they had at the backup; else each must attest again. */
  readonly keepAgents: boolean;
}

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
    const before = readHighWater(path);
    proveWhole(copy, (facts) => check(facts, presentFacts(path)));
    using database = openDatabase(copy, undefined);
    putAhead(database, plan, before);
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

/** What the store is that is to be replaced; `undefined` where there is none, or one that is past reading. */
function presentFacts(path: string): StoreFacts | undefined {
  if (!existsSync(path)) return undefined;
  try {
    using database = new DatabaseSync(path, { readOnly: true });
    return factsOf(database, path);
  } catch {
    return undefined;
  }
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

/**
 * Makes a store of long ago one that was never seen before. Numbers that others remember jump to the time: none of them grows
 * as fast as its unit, so they are larger than any that was ever given out, and larger than those of every restore before.
 */
function putAhead(database: DatabaseSync, plan: RestorePlan, before: HighWater | undefined): void {
  // What was shown before the last restore stays refused, though the clock was set back since.
  const at = Math.max(Math.floor(plan.now / 1000), before?.restoredAt ?? 0);
  const run = (sql: string, ...values: (string | number)[]) => database.prepare(sql).run(...values);
  const one = (sql: string) => database.prepare(sql).get() ?? {};
  const setMeta = (name: string, value: string) =>
    run(
      "insert into meta (name, value) values (?, ?) on conflict (name) do update set value = ?2",
      name,
      value,
    );
  const facts = factsOf(database, "copy");
  const mark = Number(
    database.prepare("select value from meta where name = ?").get(STORE_MARK)?.["value"] ?? 0,
  );
  database.exec("begin immediate");

  // Seconds: a bundle changes less than once in one.
  const sequence = max(facts.bundleSequence, before?.bundleSequence ?? 0n, BigInt(at)) + 1n;
  run("update bundles set sequence = ? where trust_domain = ?", sequence.toString(), facts.trustDomain);
  // Microseconds: there are thousands of changes in a second. All rows are forgotten, so that whoever follows reads anew.
  const changes = Math.max(facts.changes, before?.changes ?? 0, at * 1_000_000, plan.now * 1000) + 1;
  run("delete from changes");
  run("update sqlite_sequence set seq = ? where name = 'changes'", changes);
  run("insert into sqlite_sequence (name, seq) select 'changes', ? where changes() = 0", changes);
  setMeta("changes_pruned_up_to", String(changes));
  setMeta(STORE_MARK, String(Math.max(mark, before?.mark ?? 0) + 1));
  // An agent keeps an entry whose revision it knows; one that was changed after the backup has the same again else.
  run("update entries set revision = max(revision, ?) + 1", at);

  // What is good once may have been used after the backup.
  run("delete from join_tokens where used_at is null");
  // What was issued since is unknown, so nothing that can end early is left of before.
  run("update tasks set state = 'ending', ended_at = ?, end_reason = 'operator' where state = 'active'", at);
  run("update credentials set revoked_at = ?, reason = 'operator' where revoked_at = 0", at);
  const lists = Number(one("select coalesce(max(list), -1) as n from status_lists")["n"]) + 1 + LISTS_SINCE;
  run("delete from status_places");
  run("delete from status_lists");
  run("insert into status_lists (list, taken) values (?, 0)", lists);
  if (!plan.keepAgents) {
    run("update nodes set serial = '', pending_serial = '', pending_expires_at = 0");
  }
  const authorities = plan.keepAuthorities
    ? []
    : database
        .prepare("select id from authorities")
        .all()
        .map(({ id }) => String(id));
  setMeta(
    RESTORED,
    writeRestored({ at, backupAt: plan.backupAt, authorities, statusLists: lists, told: false }),
  );
  database.exec("commit");
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

function max(...values: readonly bigint[]): bigint {
  return values.reduce((largest, value) => (value > largest ? value : largest), 0n);
}

// More lists than can have been begun between backup and restore: each has room for 65,536 tokens at a time.
const LISTS_SINCE = 16;
