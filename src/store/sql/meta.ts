import type { Kysely } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { Schema } from "./schema.ts";

/** A fact about the store as a whole, or `undefined`. */
export async function readMeta(db: Kysely<Schema>, name: string): Promise<string | undefined> {
  const row = await db.selectFrom("meta").select("value").where("name", "=", name).executeTakeFirst();
  return row?.value;
}

/** Writes a fact about the store as a whole. */
export async function writeMeta(db: Kysely<Schema>, name: string, value: string): Promise<void> {
  await db
    .insertInto("meta")
    .values({ name, value })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
    .execute();
}

/**
 * Binds a new store to its trust domain, once and for all.
 * @throws AssayError `CONFIG_INVALID` where the store belongs to another trust domain.
 */
export async function claimTrustDomain(
  db: Kysely<Schema>,
  trustDomain: TrustDomain,
  place: string,
): Promise<void> {
  const owner = await readMeta(db, TRUST_DOMAIN);
  if (owner === undefined) return writeMeta(db, TRUST_DOMAIN, trustDomain);
  if (owner === trustDomain) return;
  throw new AssayError(
    "CONFIG_INVALID",
    `the store ${place} belongs to trust domain ${owner}, the configuration says ${trustDomain}: name another data folder, or correct the trust domain`,
  );
}

const TRUST_DOMAIN = "trust_domain";
