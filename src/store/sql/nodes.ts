import type { Selectable, Updateable } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { NodeRecord } from "../records.ts";
import type { NodeChange, NodeStore } from "../store.ts";
import { chunksOf, inOrderOf, KEYS_PER_STATEMENT, pageLimit } from "./chunks.ts";
import type { NodeTable } from "./schema.ts";
import { readSelectors, writeSelectors } from "./selector-lists.ts";
import type { SqlSession } from "./session.ts";

/** Attested nodes over SQL. */
export function sqlNodeStore(session: SqlSession): NodeStore {
  return {
    attested: (node) =>
      session.write(async (tx, note) => {
        const columns = attestedColumns(node);
        // The ban is checked by the statement that writes, so that no ban can slip in between.
        const row = await tx
          .insertInto("nodes")
          .values({ id: node.id, banned: 0, ...columns })
          .onConflict((conflict) => conflict.column("id").doUpdateSet(columns).where("nodes.banned", "=", 0))
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) throw new AssayError("AGENT_BANNED", `the agent ${node.id} is banned`);
        note("node", node.id, "put");
        return nodeOfRow(row);
      }),

    update: (id, change) =>
      session.write(async (tx, note) => {
        const columns = changeColumns(change);
        if (Object.keys(columns).length === 0) {
          const row = await tx.selectFrom("nodes").selectAll().where("id", "=", id).executeTakeFirst();
          return row && nodeOfRow(row);
        }
        const query = tx.updateTable("nodes").set(columns).where("id", "=", id);
        const row = await query.returningAll().executeTakeFirst();
        if (row === undefined) return undefined;
        note("node", id, "put");
        return nodeOfRow(row);
      }),

    activatePending: (id, serial) =>
      session.write(async (tx, note) => {
        if (serial === "") return undefined;
        const row = await tx
          .updateTable("nodes")
          .set((column) => ({
            serial: column.ref("pending_serial"),
            expires_at: column.ref("pending_expires_at"),
            pending_serial: "",
            pending_expires_at: 0,
          }))
          .where("id", "=", id)
          .where("pending_serial", "=", serial)
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) return undefined;
        note("node", id, "put");
        return nodeOfRow(row);
      }),

    delete: (ids) =>
      session.write(async (tx, note) => {
        const gone = new Set<string>();
        for (const chunk of chunksOf(ids, KEYS_PER_STATEMENT)) {
          const entries = await tx
            .deleteFrom("entries")
            .where("owner_node", "in", chunk)
            .returning("id")
            .execute();
          for (const { id } of entries) note("entry", id, "delete");
          const nodes = await tx.deleteFrom("nodes").where("id", "in", chunk).returning("id").execute();
          for (const { id } of nodes) {
            gone.add(id);
            note("node", id, "delete");
          }
        }
        return ids.map((id) => gone.delete(id));
      }),

    get: (ids) =>
      session.read(async (db) => {
        const found = new Map<SpiffeId, NodeRecord>();
        for (const chunk of chunksOf(ids, KEYS_PER_STATEMENT)) {
          const rows = await db.selectFrom("nodes").selectAll().where("id", "in", chunk).execute();
          for (const node of rows.map(nodeOfRow)) found.set(node.id, node);
        }
        return inOrderOf(ids, found);
      }),

    async list(afterOrdinal, limit) {
      const atMost = pageLimit(limit);
      return session.read(async (db) => {
        const query = db.selectFrom("nodes").selectAll().where("ordinal", ">", afterOrdinal);
        return (await query.orderBy("ordinal").limit(atMost).execute()).map(nodeOfRow);
      });
    },
  };
}

function attestedColumns(node: Omit<NodeRecord, "ordinal" | "banned">) {
  return {
    attestation_type: node.attestationType,
    selectors: writeSelectors(node.selectors),
    can_reattest: Number(node.canReattest),
    serial: node.serial,
    expires_at: node.expiresAt,
    pending_serial: node.pendingSerial,
    pending_expires_at: node.pendingExpiresAt,
    attested_at: node.attestedAt,
    agent_version: node.agentVersion,
  };
}

function changeColumns(change: NodeChange): Updateable<NodeTable> {
  return {
    ...(change.banned === undefined ? {} : { banned: Number(change.banned) }),
    ...(change.serial === undefined ? {} : { serial: change.serial }),
    ...(change.expiresAt === undefined ? {} : { expires_at: change.expiresAt }),
    ...(change.pendingSerial === undefined ? {} : { pending_serial: change.pendingSerial }),
    ...(change.pendingExpiresAt === undefined ? {} : { pending_expires_at: change.pendingExpiresAt }),
    ...(change.agentVersion === undefined ? {} : { agent_version: change.agentVersion }),
  };
}

function nodeOfRow(row: Selectable<NodeTable>): NodeRecord {
  return {
    id: row.id as SpiffeId,
    attestationType: row.attestation_type,
    selectors: readSelectors(row.selectors),
    canReattest: row.can_reattest === 1,
    banned: row.banned === 1,
    serial: row.serial,
    expiresAt: row.expires_at,
    pendingSerial: row.pending_serial,
    pendingExpiresAt: row.pending_expires_at,
    attestedAt: row.attested_at,
    agentVersion: row.agent_version,
    ordinal: row.ordinal,
  };
}
