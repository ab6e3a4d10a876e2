import type { Kysely } from "kysely";
import type { ChangeRecord } from "../records.ts";
import type { ChangeLog } from "../store.ts";
import { pageLimit } from "./chunks.ts";
import { readMeta, writeMeta } from "./meta.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";

/** The change log over SQL. */
export function sqlChangeLog(session: SqlSession): ChangeLog {
  return {
    latest: () => session.read(latestChange),

    async since(sequence, limit) {
      const atMost = pageLimit(limit);
      return session.read(async (db) => {
        const rows = await db
          .selectFrom("changes")
          .selectAll()
          .where("sequence", ">", sequence)
          .orderBy("sequence")
          .limit(atMost)
          .execute();
        // Read after the rows: a pruning between the two is then seen, never overlooked.
        return sequence < (await prunedUpTo(db)) ? undefined : (rows as readonly ChangeRecord[]);
      });
    },

    subscribe: (listener) => session.subscribe(listener),

    prune: (upTo) =>
      session.write(async (tx) => {
        const horizon = Math.min(upTo, await latestChange(tx));
        if (horizon <= (await prunedUpTo(tx))) return;
        await tx.deleteFrom("changes").where("sequence", "<=", horizon).execute();
        await writeMeta(tx, PRUNED, String(horizon));
      }),
  };
}

/** Sequence of the newest row ever written, forgotten or not. */
export async function latestChange(db: Kysely<Schema>): Promise<number> {
  const query = db.selectFrom("changes").select("sequence").orderBy("sequence", "desc").limit(1);
  return (await query.executeTakeFirst())?.sequence ?? (await prunedUpTo(db));
}

async function prunedUpTo(db: Kysely<Schema>): Promise<number> {
  return Number((await readMeta(db, PRUNED)) ?? 0);
}

const PRUNED = "changes_pruned_up_to";
