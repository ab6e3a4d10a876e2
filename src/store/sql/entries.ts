import type { Kysely } from "kysely";
import type { EntryRecord } from "../records.ts";
import type { EntryStore } from "../store.ts";
import { chunksOf, inOrderOf, KEYS_PER_STATEMENT, pageLimit } from "./chunks.ts";
import { createEntries } from "./entry-create.ts";
import { entryOfRow } from "./entry-rows.ts";
import { updateEntry } from "./entry-update.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";

/** Registration entries over SQL. */
export function sqlEntryStore(session: SqlSession): EntryStore {
  return {
    create: (entries) => session.write((tx, note) => createEntries(tx, note, entries)),

    update: (updates) =>
      session.write(async (tx, note) => {
        const outcomes = [];
        for (const update of updates) outcomes.push(await updateEntry(tx, note, update));
        return outcomes;
      }),

    delete: (ids) =>
      session.write(async (tx, note) => {
        const gone = new Set<string>();
        for (const chunk of chunksOf(ids, KEYS_PER_STATEMENT)) {
          const rows = await tx.deleteFrom("entries").where("id", "in", chunk).returning("id").execute();
          for (const { id } of rows) {
            gone.add(id);
            note("entry", id, "delete");
          }
        }
        // An id named twice was there once.
        return ids.map((id) => gone.delete(id));
      }),

    deleteExpired: (before) =>
      session.write(async (tx, note) => {
        const rows = await tx
          .deleteFrom("entries")
          .where("expires_at", "!=", 0)
          .where("expires_at", "<", before)
          .returning("id")
          .execute();
        for (const { id } of rows) note("entry", id, "delete");
        return rows.map(({ id }) => id);
      }),

    get: (ids) => session.read(async (db) => inOrderOf(ids, await entriesById(db, ids))),

    async list(afterOrdinal, limit) {
      const atMost = pageLimit(limit);
      return session.read(async (db) => {
        const query = db.selectFrom("entries").selectAll().where("ordinal", ">", afterOrdinal);
        return (await query.orderBy("ordinal").limit(atMost).execute()).map(entryOfRow);
      });
    },
  };
}

async function entriesById(db: Kysely<Schema>, ids: readonly string[]): Promise<Map<string, EntryRecord>> {
  const found = new Map<string, EntryRecord>();
  for (const chunk of chunksOf(ids, KEYS_PER_STATEMENT)) {
    const rows = await db.selectFrom("entries").selectAll().where("id", "in", chunk).execute();
    for (const row of rows) found.set(row.id, entryOfRow(row));
  }
  return found;
}
