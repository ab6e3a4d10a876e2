import type { Kysely, Transaction } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { StatusPlace } from "../task-store.ts";
import type { Schema } from "./schema.ts";

/** A random whole number from 0 to below the bound, each as likely as the others. */
export type RandomBelow = (bound: number) => number;

/** How many places a status list has. */
export const STATUS_LIST_SIZE = 2 ** 17;

/**
 * Takes a random free place in the first status list of which less than half is taken; a list that is needed is begun. Which
 * place says nothing then of what was issued before or after.
 */
export async function takeStatusPlace(
  tx: Transaction<Schema>,
  expiresAt: number,
  randomBelow: RandomBelow,
): Promise<StatusPlace> {
  const list = await openList(tx);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const place = randomBelow(STATUS_LIST_SIZE);
    const taken = await tx
      .insertInto("status_places")
      .values({ list, place, expires_at: expiresAt })
      .onConflict((conflict) => conflict.columns(["list", "place"]).doNothing())
      .returning("place")
      .executeTakeFirst();
    if (taken === undefined) continue;
    await tx
      .updateTable("status_lists")
      .set((column) => ({ taken: column("taken", "+", 1) }))
      .where("list", "=", list)
      .execute();
    return { list, index: place };
  }
  throw new AssayError("INTERNAL", "no free place was found in a status list that is half empty");
}

/** Frees the places whose credentials expired before this time (Unix seconds). */
export async function freeStatusPlaces(tx: Transaction<Schema>, before: number): Promise<void> {
  const freed = tx.deleteFrom("status_places").where("expires_at", "<", before).returning("list");
  for (const [list, places] of Map.groupBy(await freed.execute(), (place) => place.list)) {
    await tx
      .updateTable("status_lists")
      .set((column) => ({ taken: column("taken", "-", places.length) }))
      .where("list", "=", list)
      .execute();
  }
}

/** How many status lists were begun. */
export async function countStatusLists(db: Kysely<Schema>): Promise<number> {
  const last = await db
    .selectFrom("status_lists")
    .select("list")
    .orderBy("list", "desc")
    .limit(1)
    .executeTakeFirst();
  return last === undefined ? 0 : last.list + 1;
}

async function openList(tx: Transaction<Schema>): Promise<number> {
  const lists = tx.selectFrom("status_lists").select("list");
  const open = lists
    .where("taken", "<", STATUS_LIST_SIZE / 2)
    .orderBy("list")
    .limit(1);
  const found = await open.executeTakeFirst();
  if (found !== undefined) return found.list;
  const last = await lists.orderBy("list", "desc").limit(1).executeTakeFirst();
  const list = last === undefined ? 0 : last.list + 1;
  await tx
    .insertInto("status_lists")
    .values({ list, taken: 0 })
    .onConflict((conflict) => conflict.column("list").doNothing())
    .execute();
  return list;
}

// At most half of a list is taken, so that a hundred misses in a row do not happen by chance.
const ATTEMPTS = 100;
