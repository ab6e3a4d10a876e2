import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { StoreFacts } from "../records.ts";
import { storeFailure, unavailable } from "./failures.ts";
import { checkSchema } from "./migrations.ts";
import { createPrivateFile } from "./private-file.ts";

/**
 * Copies a store, which may be in use, to a new file of mode 0600, as it is at one moment.
 *
 * By a connection of its own that reads and off the main thread: writers write on. In one step, because a copy of several begins
 * anew with each write in between, and on a busy server would never end.
 * @throws AssayError `STORE_UNAVAILABLE`, `STORE_TOO_NEW`; no file is left then.
 */
export async function copySqliteStore(source: string, target: string): Promise<StoreFacts> {
  try {
    createPrivateFile(target);
    using reader = new DatabaseSync(source, { readOnly: true });
    await backup(reader, target, { rate: ALL_PAGES });
    using copy = new DatabaseSync(target);
    // One file with everything in it, without a log beside it.
    copy.exec("pragma journal_mode = delete");
    return factsOf(copy, target);
  } catch (error) {
    await removeDatabase(target);
    throw storeFailure(error, source);
  }
}

/** What an open database is. @throws AssayError `STORE_UNAVAILABLE` where it is no store of ours, `STORE_TOO_NEW`. */
export function factsOf(database: DatabaseSync, path: string): StoreFacts {
  const schemaVersion = checkSchema(database, path);
  const meta = (name: string) =>
    database.prepare("select value from meta where name = ?").get(name)?.["value"];
  const owner = schemaVersion === 0 ? undefined : meta("trust_domain");
  if (typeof owner !== "string") throw unavailable(path, "it is empty");
  const bundle = database.prepare("select sequence from bundles where trust_domain = ?").get(owner);
  const last = database.prepare("select max(sequence) as n from changes").get()?.["n"];
  return {
    trustDomain: parseTrustDomain(owner),
    schemaVersion,
    bundleSequence: BigInt((bundle?.["sequence"] as string | undefined) ?? 0),
    changes: Number(last ?? meta("changes_pruned_up_to") ?? 0),
  };
}

/** Removes a database and what SQLite keeps beside it. */
export async function removeDatabase(path: string): Promise<void> {
  for (const suffix of SUFFIXES) await rm(`${path}${suffix}`, { force: true });
}

/**
 * Removes what a restore that was killed left in a folder, whose store this process has locked.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function removeRestoreLeftovers(folder: string): Promise<void> {
  try {
    for (const name of await readdir(folder)) {
      if (LEFTOVER.test(name)) await rm(join(folder, name), { force: true, recursive: true });
    }
  } catch (error) {
    throw storeFailure(error, folder);
  }
}

/** The name of a copy while it is made ready in the store's folder. */
export const RESTORE_COPY = ".restore-store";
// Of the copy itself, of SQLite, and of one that is being written.
const LEFTOVER = /^\.{1,2}restore-store/;
/** What stands beside a database's name in the names of its files. */
export const SUFFIXES = ["", "-wal", "-shm", "-journal"] as const;
const ALL_PAGES = 2 ** 31 - 1;
