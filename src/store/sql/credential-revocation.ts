import { sql, type Transaction } from "kysely";
import type { CredentialRecord } from "../task-store.ts";
import { chunksOf, KEYS_PER_STATEMENT } from "./chunks.ts";
import { credentialName, credentialOfRow, HAS_TASK } from "./credential-rows.ts";
import type { Schema } from "./schema.ts";
import type { NoteChange } from "./work.ts";

/** The names of all credentials of one task. */
export async function credentialsOfTask(tx: Transaction<Schema>, taskId: string): Promise<readonly string[]> {
  if (taskId === "") return [];
  const rows = await tx
    .selectFrom("credentials")
    .select(["kind", "id"])
    .where("task_id", "=", taskId)
    .where(HAS_TASK)
    .execute();
  return rows.map(credentialName);
}

/**
 * Revokes what these names name and what was exchanged for it, step by step, and gives what was good before. What expired
 * long enough ago that no clock can make it good is passed over, but not what was exchanged for it.
 */
export async function revokeAll(
  tx: Transaction<Schema>,
  note: NoteChange,
  names: readonly string[],
  reason: string,
  at: number,
): Promise<readonly CredentialRecord[]> {
  const good: number[] = [];
  const reached = new Set(names);
  // The set grows while it is walked, a generation at a time, so that a circle of parents ends.
  for (let generation = [...names]; generation.length > 0; ) {
    const children: string[] = [];
    for (const chunk of chunksOf(generation, KEYS_PER_STATEMENT)) {
      good.push(...(await goodOnes(tx, chunk, at)));
      const rows = await tx
        .selectFrom("credentials")
        .select(["kind", "id"])
        .where(HAS_PARENT)
        .where("parent", "in", chunk)
        .execute();
      for (const child of rows.map(credentialName)) {
        if (reached.has(child)) continue;
        reached.add(child);
        children.push(child);
      }
    }
    generation = children;
  }
  const revoked: CredentialRecord[] = [];
  for (const chunk of chunksOf(good, KEYS_PER_STATEMENT)) {
    const rows = await tx
      .updateTable("credentials")
      .set({ revoked_at: at, reason })
      .where("ordinal", "in", chunk)
      .where("revoked_at", "=", 0)
      .returningAll()
      .execute();
    for (const credential of rows.map(credentialOfRow)) {
      revoked.push(credential);
      note("credential", credentialName(credential), "put");
    }
  }
  return revoked;
}

async function goodOnes(tx: Transaction<Schema>, names: readonly string[], at: number): Promise<number[]> {
  const byKind = Map.groupBy(names, (name) => name.slice(0, name.indexOf(":")));
  const ordinals: number[] = [];
  for (const [kind, ofKind] of byKind) {
    const ids = ofKind.map((name) => name.slice(kind.length + 1));
    const rows = await tx
      .selectFrom("credentials")
      .select("ordinal")
      .where("kind", "=", kind)
      .where("id", "in", ids)
      .where("revoked_at", "=", 0)
      .where("expires_at", ">", at - MARGIN)
      .execute();
    for (const { ordinal } of rows) ordinals.push(ordinal);
  }
  return ordinals;
}

// Literal, not a parameter: a partial index is taken only where the statement itself says so.
const HAS_PARENT = sql<boolean>`parent != ''`;
// More than any verifier's clock is off, in seconds.
const MARGIN = 300;
