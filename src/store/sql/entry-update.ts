import type { Transaction } from "kysely";
import type { EntryRecord } from "../records.ts";
import type { EntryUpdate, EntryUpdateOutcome } from "../store.ts";
import { federationRows, knownBundles, unknownBundleOf } from "./entry-federations.ts";
import { contentColumns, entryIdentity, entryOfRow } from "./entry-rows.ts";
import type { Schema } from "./schema.ts";
import type { NoteChange } from "./work.ts";

/** Replaces one entry's content inside a transaction; the outcome is `EntryStore.update`'s. */
export async function updateEntry(
  tx: Transaction<Schema>,
  note: NoteChange,
  update: EntryUpdate,
): Promise<EntryUpdateOutcome> {
  const row = await tx.selectFrom("entries").selectAll().where("id", "=", update.id).executeTakeFirst();
  if (row === undefined) return { outcome: "absent" };
  const current = entryOfRow(row);
  if (update.revision !== undefined && update.revision !== current.revision) {
    return { outcome: "stale", entry: current };
  }
  const unknown = unknownBundleOf(update.content, await knownBundles(tx, [update.content]));
  if (unknown !== undefined) return { outcome: "unknownBundle", trustDomain: unknown };
  const identity = entryIdentity(update.content);
  if (identity !== row.identity) {
    const other = await tx
      .selectFrom("entries")
      .selectAll()
      .where("identity", "=", identity)
      .executeTakeFirst();
    if (other !== undefined) return { outcome: "similar", entry: entryOfRow(other) };
  }
  const entry = await replaceContent(tx, note, current, update.content, identity);
  return { outcome: "updated", entry };
}

/** Writes a new content over an entry: one revision more, federations anew, one change. */
export async function replaceContent(
  tx: Transaction<Schema>,
  note: NoteChange,
  current: EntryRecord,
  content: EntryUpdate["content"],
  identity: string,
): Promise<EntryRecord> {
  const row = await tx
    .updateTable("entries")
    .set({ ...contentColumns(content), identity, revision: current.revision + 1 })
    .where("ordinal", "=", current.ordinal)
    .returningAll()
    .executeTakeFirstOrThrow();
  const entry = entryOfRow(row);
  if (current.federatesWith.length > 0) {
    await tx.deleteFrom("entry_federations").where("entry_ordinal", "=", entry.ordinal).execute();
  }
  const federations = federationRows(entry);
  if (federations.length > 0) await tx.insertInto("entry_federations").values(federations).execute();
  note("entry", entry.id, "put");
  return entry;
}
