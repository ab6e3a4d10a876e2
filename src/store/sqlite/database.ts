import { DatabaseSync } from "node:sqlite";
import { storeFailure, unavailable } from "./failures.ts";
import { checkSchema, migrate } from "./migrations.ts";
import { createPrivateFile } from "./private-file.ts";

/**
 * Opens the database file with the pragmas that make its commits durable, and brings its schema up to date.
 * `maxPages` bounds its size in pages of 4 KiB.
 * @throws AssayError `STORE_TOO_NEW`, `STORE_UNAVAILABLE`.
 */
export function openDatabase(path: string, maxPages: number | undefined): DatabaseSync {
  createPrivateFile(path);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT, enableForeignKeyConstraints: true });
    // Looked at before anything is written: a file that is not ours is left as it is.
    const version = checkSchema(database, path);
    const mode = database.prepare("pragma journal_mode = wal").get()?.["journal_mode"];
    if (mode !== "wal") throw unavailable(path, "its file system does not support write-ahead logging");
    database.exec(PRAGMAS);
    if (maxPages !== undefined) database.exec(`pragma max_page_count = ${Math.trunc(maxPages)}`);
    migrate(database, version);
    return database;
  } catch (error) {
    database?.close();
    throw storeFailure(error, path);
  }
}

// Only an inspector's brief lock is ever waited for; the wait blocks the process, so it is short. Milliseconds.
const BUSY_TIMEOUT = 1000;
const PRAGMAS = `
  pragma synchronous = full;
  pragma foreign_keys = on;
  pragma trusted_schema = off;
  pragma temp_store = memory;
  pragma journal_size_limit = 67108864;
`;
