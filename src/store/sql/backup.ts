import type { Kysely } from "kysely";
import type { RestoreRecord, StoreFacts } from "../records.ts";
import type { BackupStore } from "../store.ts";
import { readMeta, writeMeta } from "./meta.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";

/** Copies a database by its own means. */
export type CopyStore = (path: string) => Promise<StoreFacts>;

/** Copies, and what restores left to do, over SQL. */
export function sqlBackupStore(session: SqlSession, copyTo: CopyStore): BackupStore {
  return {
    copyTo: (path) => session.read(() => copyTo(path)),
    restored: () => session.read(readRestored),
    settle: (change) =>
      session.write(async (tx) => {
        const restored = await readRestored(tx);
        if (restored !== undefined) await writeMeta(tx, RESTORED, writeRestored({ ...restored, ...change }));
      }),
  };
}

/** The record as it is kept among the facts about a store. */
export function writeRestored(record: RestoreRecord): string {
  return JSON.stringify(record);
}

/** The record of the last restore; `undefined` where there was none. */
export async function readRestored(db: Kysely<Schema>): Promise<RestoreRecord | undefined> {
  const text = await readMeta(db, RESTORED);
  return text === undefined ? undefined : (JSON.parse(text) as RestoreRecord);
}

/** The name of the last restore among the facts about a store. */
export const RESTORED = "restored";
