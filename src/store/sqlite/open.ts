/**
 * sqlite/ — the store in one SQLite file, for one server.
 *
 * Must never know what the rows mean, nor a query: those are in sql/. It holds tables, pragmas, the lock and the file.
 * Called by the server's composition and by the contract suite.
 */
import { randomInt } from "node:crypto";
import { dirname, join } from "node:path";
import { Kysely } from "kysely";
import type { Clock } from "../../clock.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { claimTrustDomain } from "../sql/meta.ts";
import type { Schema } from "../sql/schema.ts";
import { SqlSession } from "../sql/session.ts";
import type { RandomBelow } from "../sql/status-places.ts";
import { sqlStore } from "../sql/store.ts";
import type { Store } from "../store.ts";
import { copySqliteStore, removeRestoreLeftovers } from "./backup-copy.ts";
import { openDatabase } from "./database.ts";
import { nodeSqliteDialect } from "./dialect.ts";
import { HighWaterKeeper } from "./high-water-keeper.ts";
import { takeStoreLock } from "./lock.ts";
import { createPrivateFolder } from "./private-file.ts";

/** Where the store is and whose it is: the database file itself, or a folder that holds it as `store.sqlite`. */
export type SqliteStoreOptions = ({ readonly path: string } | { readonly folder: string }) & {
  /** The trust domain; a store once made for one is never opened for another. */
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** Largest size of the database in pages of 4 KiB; without it only the disk bounds it. */
  readonly maxPages?: number;
  /** A random whole number from 0 to below its argument, for places in status lists. */
  readonly randomBelow?: RandomBelow;
  /** Told when the high-water mark beside the store cannot be written, once until it can be again. */
  readonly onMarkFault?: ((error: unknown) => void) | undefined;
};

/**
 * Opens the store, making and migrating it as needed. The folder is made with mode 0700, the files have 0600.
 * @throws AssayError `STORE_IN_USE` (another process has it), `STORE_TOO_NEW` (a newer program wrote it),
 * `STORE_OUTDATED` (an older copy than what was here before), `STORE_UNAVAILABLE` (unreadable, damaged, not a store, full, read-only), `CONFIG_INVALID` (another trust domain's).
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const path = "path" in options ? options.path : join(options.folder, STORE_FILE);
  createPrivateFolder(dirname(path));
  const lock = takeStoreLock(path);
  try {
    await removeRestoreLeftovers(dirname(path));
    const database = openDatabase(path, options.maxPages);
    const db = new Kysely<Schema>({ dialect: nodeSqliteDialect(database, path) });
    try {
      await claimTrustDomain(db, options.trustDomain, path);
      const session = new SqlSession(db, options.trustDomain);
      const highWater = await HighWaterKeeper.open(
        path,
        session,
        options.clock,
        options.onMarkFault ?? (() => undefined),
      );
      return sqlStore(session, {
        clock: options.clock,
        randomBelow: options.randomBelow ?? ((bound) => randomInt(bound)),
        copyTo: (target) => copySqliteStore(path, target),
        closing: () => highWater[Symbol.asyncDispose](),
        release: () => lock[Symbol.dispose](),
      });
    } catch (error) {
      await db.destroy();
      throw error;
    }
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

/** The store's name in its folder. */
export const STORE_FILE = "store.sqlite";
