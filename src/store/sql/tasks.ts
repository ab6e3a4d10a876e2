import { sql, type Transaction } from "kysely";
import type { NewTask, TaskOpening, TaskRecord, TaskStore } from "../task-store.ts";
import { pageLimit } from "./chunks.ts";
import { credentialsOfTask, revokeAll } from "./credential-revocation.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";
import type { NoteChange } from "./work.ts";
import { newTaskRow, taskOfRow } from "./task-rows.ts";

/** Tasks over SQL. */
export function sqlTaskStore(session: SqlSession): TaskStore {
  return {
    open: (task, evidence) =>
      session.writeTogether(async (tx, note): Promise<TaskOpening> => {
        // One statement decides who used the evidence, another who opened the task: in any number of processes.
        const used = await tx
          .insertInto("task_evidence")
          .values({ replay_key: evidence.replayKey, until: evidence.until })
          .onConflict((conflict) => conflict.column("replay_key").doNothing())
          .returning("replay_key")
          .executeTakeFirst();
        return used === undefined ? { outcome: "replayed" } : openTask(tx, note, task);
      }),

    extend: (id, leaseExpiresAt) =>
      session.writeTogether(async (tx, note) => {
        const active = tx.selectFrom("tasks").selectAll().where("id", "=", id).where("state", "=", "active");
        const row = await active.executeTakeFirst();
        if (row === undefined) return undefined;
        const until = Math.min(leaseExpiresAt, row.hard_end);
        const extended = await tx
          .updateTable("tasks")
          .set({ lease_expires_at: until })
          .where("id", "=", id)
          .where("state", "=", "active")
          .where("lease_expires_at", "<", until)
          .returningAll()
          .executeTakeFirst();
        if (extended === undefined) return taskOfRow(row);
        note("task", id, "put");
        return taskOfRow(extended);
      }),

    end: (id, reason, at) =>
      session.writeTogether(async (tx, note) => {
        const row = await tx
          .updateTable("tasks")
          .set({ state: "ending", ended_at: at, end_reason: reason })
          .where("id", "=", id)
          .where("state", "=", "active")
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return undefined;
        note("task", id, "put");
        const revoked = await revokeAll(tx, note, await credentialsOfTask(tx, id), reason, at);
        return { task: taskOfRow(row), revoked };
      }),

    close: (id) =>
      session.writeTogether(async (tx, note) => {
        const query = tx
          .updateTable("tasks")
          .set({ state: "ended" })
          .where("id", "=", id)
          .where("state", "=", "ending");
        if ((await query.executeTakeFirst()).numUpdatedRows > 0n) note("task", id, "put");
      }),

    get: (id) =>
      session.read(async (db) => {
        const row = await db.selectFrom("tasks").selectAll().where("id", "=", id).executeTakeFirst();
        return row && taskOfRow(row);
      }),

    live: () =>
      session.read(async (db) => {
        const query = db.selectFrom("tasks").selectAll().where(IS_LIVE).orderBy("ordinal");
        return (await query.execute()).map(taskOfRow);
      }),

    async list(beforeOrdinal, limit) {
      const atMost = pageLimit(limit);
      return session.read(async (db) => {
        const all = db.selectFrom("tasks").selectAll().orderBy("ordinal", "desc").limit(atMost);
        const query = beforeOrdinal === 0 ? all : all.where("ordinal", "<", beforeOrdinal);
        return (await query.execute()).map(taskOfRow);
      });
    },

    prune: (before) =>
      session.write(async (tx, note) => {
        const evidence = tx.deleteFrom("task_evidence").where("until", "<", before);
        const { numDeletedRows } = await evidence.executeTakeFirst();
        const ended = tx.deleteFrom("tasks").where(HAS_ENDED).where("ended_at", "<", before);
        const tasks = await ended.returning("id").execute();
        for (const { id } of tasks) note("task", id, "delete");
        return Number(numDeletedRows) + tasks.length;
      }),
  };
}

async function openTask(tx: Transaction<Schema>, note: NoteChange, task: NewTask): Promise<TaskOpening> {
  const opened = await tx
    .insertInto("tasks")
    .values(newTaskRow(task))
    .onConflict((conflict) => conflict.column("key").doNothing())
    .returningAll()
    .executeTakeFirst();
  if (opened !== undefined) {
    note("task", opened.id, "put");
    return { outcome: "opened", task: taskOfRow(opened) };
  }
  const row = await tx.selectFrom("tasks").selectAll().where("key", "=", task.key).executeTakeFirstOrThrow();
  const known = taskOfRow(row);
  return { outcome: outcomeFor(known, task.keyThumbprint), task: known };
}

function outcomeFor(known: TaskRecord, keyThumbprint: string): "resumed" | "otherKey" | "over" {
  if (known.state !== "active") return "over";
  return known.keyThumbprint === keyThumbprint ? "resumed" : "otherKey";
}

// Literals, not parameters: a partial index is taken only where the statement itself says so.
const IS_LIVE = sql<boolean>`state != 'ended'`;
const HAS_ENDED = sql<boolean>`state = 'ended'`;
