import type { Kysely } from "kysely";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { EntryContent, EntryRecord } from "../records.ts";
import { chunksOf, KEYS_PER_STATEMENT } from "./chunks.ts";
import type { Schema } from "./schema.ts";

/** Which of the bundles that these contents name are there. */
export async function knownBundles(
  db: Kysely<Schema>,
  contents: readonly EntryContent[],
): Promise<ReadonlySet<string>> {
  const named = [...new Set(contents.flatMap((content) => content.federatesWith))];
  const known = new Set<string>();
  for (const chunk of chunksOf(named, KEYS_PER_STATEMENT)) {
    const rows = await db
      .selectFrom("bundles")
      .select("trust_domain")
      .where("trust_domain", "in", chunk)
      .execute();
    for (const row of rows) known.add(row.trust_domain);
  }
  return known;
}

/** The first trust domain the content federates with whose bundle is not there. */
export function unknownBundleOf(content: EntryContent, known: ReadonlySet<string>): TrustDomain | undefined {
  return content.federatesWith.find((trustDomain) => !known.has(trustDomain));
}

/** The rows of `entry_federations` that belong to an entry. */
export function federationRows(entry: EntryRecord) {
  return entry.federatesWith.map((trustDomain) => ({
    trust_domain: trustDomain,
    entry_ordinal: entry.ordinal,
  }));
}
