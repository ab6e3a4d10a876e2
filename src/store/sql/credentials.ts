import { type Kysely, sql, type Transaction } from "kysely";
import type { CredentialRecord, CredentialStore } from "../task-store.ts";
import { chunksOf, KEYS_PER_STATEMENT } from "./chunks.ts";
import { revokeAll } from "./credential-revocation.ts";
import {
  credentialName,
  credentialOfName,
  credentialOfRow,
  credentialRow,
  HAS_TASK,
} from "./credential-rows.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";
import { countStatusLists, freeStatusPlaces, type RandomBelow, takeStatusPlace } from "./status-places.ts";

/** Issued credentials that can end early, over SQL. */
export function sqlCredentialStore(session: SqlSession, randomBelow: RandomBelow): CredentialStore {
  return {
    record: (credentials) =>
      session.writeTogether(async (tx) => {
        if (!(await mayLeave(tx, credentials))) return false;
        for (const chunk of chunksOf(credentials, ROWS_PER_INSERT)) {
          const rows = chunk.map((credential) => credentialRow({ ...credential, ...GOOD }));
          await tx.insertInto("credentials").values(rows).execute();
        }
        return true;
      }),

    reserveStatus: (expiresAt) => session.writeTogether((tx) => takeStatusPlace(tx, expiresAt, randomBelow)),

    statusLists: () => session.read(countStatusLists),

    revoke: (credential, reason, at, unknown) =>
      session.writeTogether(async (tx, note) => {
        const { kind, id } = credential;
        const name = credentialName(credential);
        const written = unknown && { ...unknown, kind, id, revokedAt: at, reason };
        const added =
          written &&
          (await tx
            .insertInto("credentials")
            .values(credentialRow(written))
            .onConflict((conflict) => conflict.columns(["kind", "id"]).doNothing())
            .returningAll()
            .executeTakeFirst());
        if (added !== undefined) note("credential", name, "put");
        const revoked = await revokeAll(tx, note, [name], reason, at);
        return added === undefined ? revoked : [credentialOfRow(added), ...revoked];
      }),

    get: (kind, id) => session.read((db) => credentialOf(db, kind, id)),

    ofTask: (taskId) =>
      session.read(async (db) => {
        if (taskId === "") return [];
        const query = db.selectFrom("credentials").selectAll().where("task_id", "=", taskId).where(HAS_TASK);
        return (await query.orderBy("ordinal").execute()).map(credentialOfRow);
      }),

    revoked: (notExpiredAt) =>
      session.read(async (db) => {
        const query = db
          .selectFrom("credentials")
          .selectAll()
          .where(IS_REVOKED)
          .where("expires_at", ">", notExpiredAt);
        return (await query.orderBy("ordinal").execute()).map(credentialOfRow);
      }),

    prune: (before) =>
      session.write(async (tx) => {
        const query = tx.deleteFrom("credentials").where("expires_at", "<", before);
        const { numDeletedRows } = await query.executeTakeFirst();
        await freeStatusPlaces(tx, before);
        return Number(numDeletedRows);
      }),
  };
}

/** Whether the tasks of these are all active and nothing that they were exchanged for is revoked. */
async function mayLeave(
  tx: Transaction<Schema>,
  credentials: readonly Pick<CredentialRecord, "taskId" | "parent">[],
): Promise<boolean> {
  const taskIds = new Set(credentials.map(({ taskId }) => taskId));
  taskIds.delete("");
  for (const chunk of chunksOf([...taskIds], KEYS_PER_STATEMENT)) {
    const query = tx.selectFrom("tasks").select("id").where("id", "in", chunk).where("state", "=", "active");
    if ((await query.execute()).length < chunk.length) return false;
  }
  const parents = new Set(credentials.map(({ parent }) => parent));
  parents.delete("");
  for (const parent of parents) {
    const { kind, id } = credentialOfName(parent);
    const credential = await credentialOf(tx, kind, id);
    if (credential !== undefined && credential.revokedAt !== 0) return false;
  }
  return true;
}

async function credentialOf(
  db: Kysely<Schema>,
  kind: string,
  id: string,
): Promise<CredentialRecord | undefined> {
  const query = db.selectFrom("credentials").selectAll().where("kind", "=", kind).where("id", "=", id);
  const row = await query.executeTakeFirst();
  return row && credentialOfRow(row);
}

// Literal, not a parameter: a partial index is taken only where the statement itself says so.
const IS_REVOKED = sql<boolean>`revoked_at != 0`;
const GOOD = { revokedAt: 0, reason: "" } as const;
// Few sizes of statement are worth more than few statements: each size is prepared once and kept.
const ROWS_PER_INSERT = 50;
