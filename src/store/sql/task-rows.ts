import type { Insertable, Selectable } from "kysely";
import type { NewTask, TaskEndReason, TaskRecord } from "../task-store.ts";
import type { TaskTable } from "./schema.ts";
import { readSelectors, writeSelectors } from "./selector-lists.ts";

/** The row of a task that is opened now. */
export function newTaskRow(task: NewTask): Insertable<TaskTable> {
  return {
    id: task.id,
    key: task.key,
    attestor: task.attestor,
    platform: task.platform,
    issuer: task.issuer,
    description: task.description,
    granularity: task.granularity,
    key_thumbprint: task.keyThumbprint,
    selectors: writeSelectors(task.selectors),
    guarded: writeSelectors(task.guarded),
    claims: JSON.stringify(task.claims),
    authored_claims: JSON.stringify(task.authoredClaims),
    state: "active",
    opened_at: task.openedAt,
    lease: task.lease,
    lease_expires_at: task.leaseExpiresAt,
    hard_end: task.hardEnd,
    ended_at: 0,
    end_reason: "",
  };
}

/** The record of a row. */
export function taskOfRow(row: Selectable<TaskTable>): TaskRecord {
  return {
    id: row.id,
    key: row.key,
    attestor: row.attestor,
    platform: row.platform,
    issuer: row.issuer,
    description: row.description,
    granularity: row.granularity as TaskRecord["granularity"],
    keyThumbprint: row.key_thumbprint,
    selectors: readSelectors(row.selectors),
    guarded: readSelectors(row.guarded),
    claims: JSON.parse(row.claims) as Record<string, string>,
    authoredClaims: JSON.parse(row.authored_claims) as string[],
    state: row.state as TaskRecord["state"],
    openedAt: row.opened_at,
    lease: row.lease,
    leaseExpiresAt: row.lease_expires_at,
    hardEnd: row.hard_end,
    endedAt: row.ended_at,
    endReason: row.end_reason as TaskEndReason | "",
    ordinal: row.ordinal,
  };
}
