import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { JoinTokenStore } from "../store.ts";
import type { SqlSession } from "./session.ts";

/** Join tokens over SQL. */
export function sqlJoinTokenStore(session: SqlSession): JoinTokenStore {
  return {
    create: (token) =>
      session.write(async (tx) => {
        const row = await tx
          .insertInto("join_tokens")
          .values({
            hash: token.hash,
            expires_at: token.expiresAt,
            alias_id: token.aliasId ?? null,
            used_at: null,
          })
          .onConflict((conflict) => conflict.column("hash").doNothing())
          .returning("hash")
          .executeTakeFirst();
        if (row === undefined) throw new AssayError("ALREADY_EXISTS", "the join token exists already");
      }),

    consume: (hash, now) =>
      session.write(async (tx) => {
        // One statement decides, so that of any number of callers, in any number of processes, one wins.
        const won = await tx
          .updateTable("join_tokens")
          .set({ used_at: now })
          .where("hash", "=", hash)
          .where("used_at", "is", null)
          .where("expires_at", ">", now)
          .returning("alias_id")
          .executeTakeFirst();
        if (won !== undefined) {
          return won.alias_id === null
            ? { outcome: "consumed" as const }
            : { outcome: "consumed" as const, aliasId: won.alias_id as SpiffeId };
        }
        const query = tx.selectFrom("join_tokens").select("used_at").where("hash", "=", hash);
        const token = await query.executeTakeFirst();
        if (token === undefined) return { outcome: "unknown" as const };
        return { outcome: token.used_at === null ? ("expired" as const) : ("used" as const) };
      }),

    prune: (before) =>
      session.write(async (tx) => {
        const query = tx.deleteFrom("join_tokens").where("expires_at", "<", before);
        return Number((await query.executeTakeFirst()).numDeletedRows);
      }),
  };
}
