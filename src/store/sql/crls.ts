import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { CrlStore } from "../store.ts";
import { readBytes, writeBytes } from "./bundle-rows.ts";
import type { SqlSession } from "./session.ts";

/** Revocation lists over SQL. */
export function sqlCrlStore(session: SqlSession): CrlStore {
  return {
    list: () =>
      session.read(async (db) => {
        const query = db.selectFrom("crls").selectAll().orderBy("trust_domain").orderBy("authority_key_id");
        return (await query.execute()).map((row) => ({
          trustDomain: row.trust_domain as TrustDomain,
          authorityKeyId: row.authority_key_id,
          crl: readBytes(row.crl),
        }));
      }),

    put: ({ trustDomain, authorityKeyId, crl }) =>
      session.write(async (tx, note) => {
        const key = { trust_domain: trustDomain, authority_key_id: authorityKeyId };
        const text = writeBytes(crl);
        const stored = await tx
          .selectFrom("crls")
          .select("crl")
          .where("trust_domain", "=", key.trust_domain)
          .where("authority_key_id", "=", key.authority_key_id)
          .executeTakeFirst();
        if (stored?.crl === text) return;
        await tx
          .insertInto("crls")
          .values({ ...key, crl: text })
          .onConflict((conflict) =>
            conflict.columns(["trust_domain", "authority_key_id"]).doUpdateSet({ crl: text }),
          )
          .execute();
        note("crl", trustDomain, "put");
      }),

    delete: (trustDomain, authorityKeyId) =>
      session.write(async (tx, note) => {
        const query = tx
          .deleteFrom("crls")
          .where("trust_domain", "=", trustDomain)
          .where("authority_key_id", "=", authorityKeyId);
        const deleted = (await query.executeTakeFirst()).numDeletedRows > 0n;
        if (deleted) note("crl", trustDomain, "delete");
        return deleted;
      }),
  };
}
