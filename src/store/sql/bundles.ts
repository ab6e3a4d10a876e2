import { sql, type Transaction } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { BundleStore } from "../store.ts";
import { bundleOfRow, bundleRow, sameBundle } from "./bundle-rows.ts";
import { entryIdentity, entryOfRow } from "./entry-rows.ts";
import { replaceContent } from "./entry-update.ts";
import type { Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";
import type { NoteChange } from "./work.ts";

/** Bundles over SQL. */
export function sqlBundleStore(session: SqlSession): BundleStore {
  return {
    get: (trustDomain) =>
      session.read(async (db) => {
        const query = db.selectFrom("bundles").selectAll().where("trust_domain", "=", trustDomain);
        const row = await query.executeTakeFirst();
        return row && bundleOfRow(row);
      }),

    list: () =>
      session.read(async (db) => {
        const rows = await db.selectFrom("bundles").selectAll().orderBy("trust_domain").execute();
        return rows.map(bundleOfRow);
      }),

    async put(bundle, mode) {
      refuseOwn(session, bundle.trustDomain);
      return session.write((tx, note) => writeBundle(tx, note, bundle, mode));
    },

    async delete(trustDomain, mode) {
      refuseOwn(session, trustDomain);
      return session.write(async (tx, note) => {
        await releaseEntries(tx, note, trustDomain, mode);
        const query = tx.deleteFrom("bundles").where("trust_domain", "=", trustDomain);
        if ((await query.executeTakeFirst()).numDeletedRows === 0n) throw absent(trustDomain);
        note("bundle", trustDomain, "delete");
      });
    },
  };
}

/**
 * Writes a federated bundle inside a transaction; one equal to the stored one is no change.
 * @throws AssayError `ALREADY_EXISTS`, `BUNDLE_NOT_FOUND`.
 */
export async function writeBundle(
  tx: Transaction<Schema>,
  note: NoteChange,
  bundle: SpiffeBundle,
  mode: Parameters<BundleStore["put"]>[1],
): Promise<SpiffeBundle> {
  const query = tx.selectFrom("bundles").selectAll().where("trust_domain", "=", bundle.trustDomain);
  const stored = await query.executeTakeFirst();
  if (stored === undefined && mode === "update") throw absent(bundle.trustDomain);
  if (stored !== undefined && mode === "create") {
    throw new AssayError("ALREADY_EXISTS", `a bundle of ${bundle.trustDomain} exists already`);
  }
  if (stored !== undefined && sameBundle(bundleOfRow(stored), bundle)) return bundle;
  const { trust_domain, ...columns } = bundleRow(bundle);
  await tx
    .insertInto("bundles")
    .values({ trust_domain, ...columns })
    .onConflict((conflict) => conflict.column("trust_domain").doUpdateSet(columns))
    .execute();
  note("bundle", trust_domain, "put");
  return bundle;
}

async function releaseEntries(
  tx: Transaction<Schema>,
  note: NoteChange,
  trustDomain: TrustDomain,
  mode: Parameters<BundleStore["delete"]>[1],
): Promise<void> {
  const named = tx
    .selectFrom("entry_federations")
    .select("entry_ordinal")
    .where("trust_domain", "=", trustDomain);
  switch (mode) {
    case "restrict": {
      const one = await named.limit(1).executeTakeFirst();
      if (one === undefined) return;
      const query = tx.selectFrom("entry_federations").where("trust_domain", "=", trustDomain);
      const { count } = await query.select(sql<number>`count(*)`.as("count")).executeTakeFirstOrThrow();
      throw new AssayError(
        "BUNDLE_IN_USE",
        `${Number(count)} registration entries federate with ${trustDomain}`,
      );
    }
    case "delete": {
      const query = tx.deleteFrom("entries").where("ordinal", "in", named);
      for (const { id } of await query.returning("id").execute()) note("entry", id, "delete");
      return;
    }
    case "dissociate": {
      const rows = await tx.selectFrom("entries").selectAll().where("ordinal", "in", named).execute();
      for (const entry of rows.map(entryOfRow)) {
        const federatesWith = entry.federatesWith.filter((name) => name !== trustDomain);
        await replaceContent(tx, note, entry, { ...entry, federatesWith }, entryIdentity(entry));
      }
      return;
    }
    default:
      throw new AssayError("INVALID_REQUEST", "mode must be restrict, dissociate or delete");
  }
}

function refuseOwn(session: SqlSession, trustDomain: TrustDomain): void {
  if (trustDomain !== session.trustDomain) return;
  throw new AssayError(
    "INVALID_BUNDLE",
    `${trustDomain} is the own trust domain; its bundle follows its authorities`,
  );
}

function absent(trustDomain: TrustDomain): AssayError {
  return new AssayError("BUNDLE_NOT_FOUND", `there is no bundle of ${trustDomain}`);
}
