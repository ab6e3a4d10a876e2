import { isDeepStrictEqual } from "node:util";
import type { Selectable, Transaction } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../records.ts";
import type { FederationStore } from "../store.ts";
import { writeBundle } from "./bundles.ts";
import { pageLimit } from "./chunks.ts";
import type { FederationRelationshipTable, Schema } from "./schema.ts";
import type { SqlSession } from "./session.ts";
import type { NoteChange } from "./work.ts";

/** Relationships with foreign trust domains over SQL. */
export function sqlFederationStore(session: SqlSession): FederationStore {
  return {
    get: (trustDomain) =>
      session.read(async (db) => {
        const query = db.selectFrom(TABLE).selectAll().where("trust_domain", "=", trustDomain);
        const row = await query.executeTakeFirst();
        return row && relationshipOfRow(row);
      }),

    async list(afterTrustDomain, limit) {
      const atMost = pageLimit(limit);
      return session.read(async (db) => {
        const query = db.selectFrom(TABLE).selectAll().where("trust_domain", ">", afterTrustDomain);
        const rows = await query.orderBy("trust_domain").limit(atMost).execute();
        return rows.map(relationshipOfRow);
      });
    },

    async create(relationship, bundle) {
      if (relationship.trustDomain === session.trustDomain) {
        throw new AssayError(
          "INVALID_RELATIONSHIP",
          `${relationship.trustDomain} is the own trust domain, which nobody federates with`,
        );
      }
      return session.write(async (tx, note) => {
        const row = await tx
          .insertInto(TABLE)
          .values(rowOf(relationship))
          .onConflict((conflict) => conflict.column("trust_domain").doNothing())
          .returning("trust_domain")
          .executeTakeFirst();
        if (row === undefined) {
          throw new AssayError(
            "ALREADY_EXISTS",
            `a federation relationship with ${relationship.trustDomain} exists already`,
          );
        }
        note(KIND, relationship.trustDomain, "put");
        await setBundle(tx, note, relationship.trustDomain, bundle);
        return relationship;
      });
    },

    update: (trustDomain, change, bundle) =>
      session.write(async (tx, note) => {
        const query = tx.selectFrom(TABLE).selectAll().where("trust_domain", "=", trustDomain);
        const stored = await query.executeTakeFirst();
        if (stored === undefined) throw absent(trustDomain);
        const before = relationshipOfRow(stored);
        const relationship = { ...before, ...change };
        if (!isDeepStrictEqual(before, relationship)) {
          const { trust_domain, ...columns } = rowOf(relationship);
          await tx.updateTable(TABLE).set(columns).where("trust_domain", "=", trust_domain).execute();
          note(KIND, trustDomain, "put");
        }
        await setBundle(tx, note, trustDomain, bundle);
        return relationship;
      }),

    delete: (trustDomain) =>
      session.write(async (tx, note) => {
        const query = tx.deleteFrom(TABLE).where("trust_domain", "=", trustDomain);
        if ((await query.executeTakeFirst()).numDeletedRows === 0n) throw absent(trustDomain);
        note(KIND, trustDomain, "delete");
      }),
  };
}

async function setBundle(
  tx: Transaction<Schema>,
  note: NoteChange,
  trustDomain: TrustDomain,
  bundle: SpiffeBundle | undefined,
): Promise<void> {
  if (bundle === undefined) return;
  if (bundle.trustDomain !== trustDomain) {
    throw new AssayError(
      "INVALID_RELATIONSHIP",
      `the bundle is of ${bundle.trustDomain}, expected one of ${trustDomain}`,
    );
  }
  await writeBundle(tx, note, bundle, "set");
}

function rowOf(relationship: FederationRelationshipRecord): Selectable<FederationRelationshipTable> {
  const { trustDomain, bundleEndpointUrl, profile } = relationship;
  return {
    trust_domain: trustDomain,
    bundle_endpoint_url: bundleEndpointUrl,
    profile: profile.type,
    endpoint_spiffe_id: profile.type === "https_spiffe" ? profile.endpointSpiffeId : "",
  };
}

function relationshipOfRow(row: Selectable<FederationRelationshipTable>): FederationRelationshipRecord {
  return {
    trustDomain: row.trust_domain as TrustDomain,
    bundleEndpointUrl: row.bundle_endpoint_url,
    profile: profileOf(row),
  };
}

function profileOf(row: Selectable<FederationRelationshipTable>): FederationRelationshipRecord["profile"] {
  switch (row.profile) {
    case "https_web":
      return { type: "https_web" };
    case "https_spiffe":
      return { type: "https_spiffe", endpointSpiffeId: row.endpoint_spiffe_id as SpiffeId };
    default:
      throw new AssayError(
        "STORE_UNAVAILABLE",
        `the relationship with ${row.trust_domain} has the unknown profile ${JSON.stringify(row.profile)}`,
      );
  }
}

function absent(trustDomain: TrustDomain): AssayError {
  return new AssayError("RELATIONSHIP_NOT_FOUND", `there is no federation relationship with ${trustDomain}`);
}

const TABLE = "federation_relationships";
const KIND = "federation_relationship";
