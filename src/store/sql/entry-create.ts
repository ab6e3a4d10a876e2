import type { Transaction } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { EntryRecord } from "../records.ts";
import type { EntryCreation, NewEntry } from "../store.ts";
import { chunksOf, KEYS_PER_STATEMENT } from "./chunks.ts";
import { federationRows, knownBundles, unknownBundleOf } from "./entry-federations.ts";
import { entryIdentity, entryOfCreation, entryOfRow, newEntryRow } from "./entry-rows.ts";
import type { Schema } from "./schema.ts";
import type { NoteChange } from "./work.ts";

/** Creates entries inside a transaction; the outcomes are `EntryStore.create`'s. */
export async function createEntries(
  tx: Transaction<Schema>,
  note: NoteChange,
  entries: readonly NewEntry[],
): Promise<readonly EntryCreation[]> {
  await requireOwners(tx, entries);
  const bundles = await knownBundles(
    tx,
    entries.map((entry) => entry.content),
  );
  const items = entries.map((entry) => ({
    entry,
    identity: entryIdentity(entry.content),
    unknownBundle: unknownBundleOf(entry.content, bundles),
  }));
  const writable = items.filter((item) => item.unknownBundle === undefined);
  const created = await insertNew(tx, writable);
  const existing = await findExisting(
    tx,
    writable.filter((item) => !created.has(item)),
  );
  for (const rows of chunksOf([...created.values()].flatMap(federationRows), KEYS_PER_STATEMENT)) {
    await tx.insertInto("entry_federations").values(rows).execute();
  }
  return items.map((item): EntryCreation => {
    if (item.unknownBundle !== undefined)
      return { outcome: "unknownBundle", trustDomain: item.unknownBundle };
    const entry = created.get(item);
    if (entry !== undefined) {
      note("entry", entry.id, "put");
      return { outcome: "created", entry };
    }
    const similar = existing.byIdentity.get(item.identity);
    if (similar !== undefined) return { outcome: "similar", entry: similar };
    const conflict = existing.byId.get(item.entry.id);
    if (conflict !== undefined) return { outcome: "conflict", entry: conflict };
    throw new AssayError("INTERNAL", `the entry ${item.entry.id} was neither created nor found`);
  });
}

interface Item {
  readonly entry: NewEntry;
  readonly identity: string;
}

/** Inserts what collides with nothing, in order, so that of two equal items in one batch the first is created. */
async function insertNew<I extends Item>(
  tx: Transaction<Schema>,
  items: readonly I[],
): Promise<Map<I, EntryRecord>> {
  const created = new Map<I, EntryRecord>();
  for (const chunk of chunksOf(items, ROWS_PER_INSERT)) {
    const rows = await tx
      .insertInto("entries")
      .values(chunk.map((item) => newEntryRow(item.entry, item.identity)))
      .onConflict((conflict) => conflict.doNothing())
      .returning(["id", "ordinal"])
      .execute();
    const ordinals = new Map(rows.map((row) => [row.id, row.ordinal]));
    for (const item of chunk) {
      const ordinal = ordinals.get(item.entry.id);
      if (ordinal === undefined) continue;
      created.set(item, entryOfCreation(item.entry, ordinal));
      // A later item with the same id lost against this one.
      ordinals.delete(item.entry.id);
    }
  }
  return created;
}

async function findExisting(tx: Transaction<Schema>, items: readonly Item[]) {
  const byIdentity = new Map<string, EntryRecord>();
  const byId = new Map<string, EntryRecord>();
  for (const chunk of chunksOf(items, KEYS_PER_STATEMENT)) {
    const rows = await tx
      .selectFrom("entries")
      .selectAll()
      .where((where) =>
        where.or([
          where(
            "identity",
            "in",
            chunk.map((item) => item.identity),
          ),
          where(
            "id",
            "in",
            chunk.map((item) => item.entry.id),
          ),
        ]),
      )
      .execute();
    for (const row of rows) {
      const entry = entryOfRow(row);
      byIdentity.set(row.identity, entry);
      byId.set(row.id, entry);
    }
  }
  return { byIdentity, byId };
}

async function requireOwners(tx: Transaction<Schema>, entries: readonly NewEntry[]): Promise<void> {
  const owners = [...new Set(entries.flatMap((entry) => entry.ownerNode ?? []))];
  for (const chunk of chunksOf(owners, KEYS_PER_STATEMENT)) {
    const rows = await tx.selectFrom("nodes").select("id").where("id", "in", chunk).execute();
    const known = new Set(rows.map((row) => row.id));
    const missing = chunk.find((owner) => !known.has(owner));
    if (missing !== undefined) throw new AssayError("AGENT_NOT_FOUND", `there is no node ${missing}`);
  }
}

// Few sizes of statement are worth more than few statements: each size is prepared once and kept.
const ROWS_PER_INSERT = 50;
