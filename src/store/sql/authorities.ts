import type { Selectable } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import { firstBundle } from "../../spiffe/bundle.ts";
import type { AuthorityRecord, AuthorityState } from "../records.ts";
import type { AuthorityStore } from "../store.ts";
import { bundleOfRow, bundleRow, readBytes, sameBundle, writeBytes } from "./bundle-rows.ts";
import type { AuthorityTable } from "./schema.ts";
import type { SqlSession } from "./session.ts";

/** The journal of authorities over SQL. */
export function sqlAuthorityStore(session: SqlSession): AuthorityStore {
  return {
    list: () =>
      session.read(async (db) => {
        const query = db.selectFrom("authorities").selectAll().orderBy("not_before").orderBy("id");
        return (await query.execute()).map(authorityOfRow);
      }),

    commit: (change, edit) =>
      session.write(async (tx, note) => {
        for (const authority of change.put ?? []) {
          const { id, ...columns } = authorityRow(authority);
          await tx
            .insertInto("authorities")
            .values({ id, ...columns })
            .onConflict((conflict) => conflict.column("id").doUpdateSet(columns))
            .execute();
          note("authority", id, "put");
        }
        for (const id of change.delete ?? []) {
          const query = tx.deleteFrom("authorities").where("id", "=", id);
          if ((await query.executeTakeFirst()).numDeletedRows > 0n) note("authority", id, "delete");
        }
        const { trustDomain } = session;
        const query = tx.selectFrom("bundles").selectAll().where("trust_domain", "=", trustDomain);
        const row = await query.executeTakeFirst();
        const stored = row === undefined ? firstBundle(trustDomain) : bundleOfRow(row);
        const edited = edit(stored);
        if (edited.trustDomain !== trustDomain) {
          throw new AssayError(
            "INVALID_BUNDLE",
            `the bundle is of ${edited.trustDomain}, not of ${trustDomain}`,
          );
        }
        if (sameBundle({ ...edited, sequence: stored.sequence }, stored)) return stored;
        const bundle = { ...edited, sequence: stored.sequence + 1n };
        const { trust_domain, ...columns } = bundleRow(bundle);
        await tx
          .insertInto("bundles")
          .values({ trust_domain, ...columns })
          .onConflict((conflict) => conflict.column("trust_domain").doUpdateSet(columns))
          .execute();
        note("bundle", trust_domain, "put");
        return bundle;
      }),
  };
}

function authorityRow(authority: AuthorityRecord): Selectable<AuthorityTable> {
  return {
    id: authority.id,
    kind: authority.kind,
    state: authority.state,
    server_id: authority.serverId,
    key_id: authority.keyId,
    public_key: writeBytes(authority.publicKey),
    chain: JSON.stringify(authority.chain.map(writeBytes)),
    not_before: authority.notBefore,
    not_after: authority.notAfter,
    changed_at: authority.changedAt,
  };
}

function authorityOfRow(row: Selectable<AuthorityTable>): AuthorityRecord {
  return {
    id: row.id,
    kind: row.kind as AuthorityRecord["kind"],
    state: row.state as AuthorityState,
    serverId: row.server_id,
    keyId: row.key_id,
    publicKey: readBytes(row.public_key),
    chain: (JSON.parse(row.chain) as string[]).map(readBytes),
    notBefore: row.not_before,
    notAfter: row.not_after,
    changedAt: row.changed_at,
  };
}
