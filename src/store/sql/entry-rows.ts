import type { SvidKeyType } from "../../spiffe/svid-key-type.ts";
import { createHash } from "node:crypto";
import type { Insertable, Selectable } from "kysely";
import type { SpiffeId } from "../../spiffe/id.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { EntryContent, EntryRecord } from "../records.ts";
import type { NewEntry } from "../store.ts";
import type { EntryTable } from "./schema.ts";
import { readSelectors, writeSelectors } from "./selector-lists.ts";

/** A row of `entries` as it is read. */
export type EntryRow = Selectable<EntryTable>;

/**
 * What makes two entries similar, as a text of fixed length: a hash over SPIFFE ID, parent ID, canonical selectors and, where
 * it has one, the template of its ID. The separator occurs in none of the parts but selectors, and is escaped in their JSON.
 */
export function entryIdentity(content: EntryContent): string {
  const selectors = JSON.stringify(content.selectors.map(formatSelector));
  const template = content.idTemplate === "" ? "" : `\n${content.idTemplate}`;
  return createHash("sha256")
    .update(`${content.spiffeId}\n${content.parentId}\n${selectors}${template}`)
    .digest("base64url");
}

/** The row of an entry that is created now. */
export function newEntryRow(entry: NewEntry, identity: string): Insertable<EntryTable> {
  return {
    id: entry.id,
    identity,
    ...contentColumns(entry.content),
    revision: 0,
    created_at: entry.createdAt,
    owner_node: entry.ownerNode ?? null,
  };
}

/** The columns that an entry's content fills, without its identity. */
export function contentColumns(content: EntryContent) {
  return {
    spiffe_id: content.spiffeId as string,
    parent_id: content.parentId as string,
    selectors: writeSelectors(content.selectors),
    x509_svid_ttl: content.x509SvidTtl,
    jwt_svid_ttl: content.jwtSvidTtl,
    federates_with: JSON.stringify(content.federatesWith),
    admin: Number(content.admin),
    downstream: Number(content.downstream),
    store_svid: Number(content.storeSvid),
    expires_at: content.expiresAt,
    dns_names: JSON.stringify(content.dnsNames),
    hint: content.hint,
    disable_x509_svid_prefetch: Number(content.disableX509SvidPrefetch),
    jwt_svid_include_jti: Number(content.jwtSvidIncludeJti),
    id_template: content.idTemplate,
    max_task_duration: content.maxTaskDuration,
    exchange_audiences: JSON.stringify(content.exchangeAudiences),
    svid_key_type: content.svidKeyType as string,
  };
}

/** The record of a row. Rows hold parsed values, so reading back does not parse them again. */
export function entryOfRow(row: EntryRow): EntryRecord {
  return {
    id: row.id,
    spiffeId: row.spiffe_id as SpiffeId,
    parentId: row.parent_id as SpiffeId,
    selectors: readSelectors(row.selectors),
    x509SvidTtl: row.x509_svid_ttl,
    jwtSvidTtl: row.jwt_svid_ttl,
    federatesWith: JSON.parse(row.federates_with) as TrustDomain[],
    admin: row.admin === 1,
    downstream: row.downstream === 1,
    storeSvid: row.store_svid === 1,
    expiresAt: row.expires_at,
    dnsNames: JSON.parse(row.dns_names) as string[],
    hint: row.hint,
    disableX509SvidPrefetch: row.disable_x509_svid_prefetch === 1,
    jwtSvidIncludeJti: row.jwt_svid_include_jti === 1,
    idTemplate: row.id_template,
    maxTaskDuration: row.max_task_duration,
    exchangeAudiences: JSON.parse(row.exchange_audiences) as string[],
    svidKeyType: row.svid_key_type as SvidKeyType | "",
    revision: row.revision,
    createdAt: row.created_at,
    ordinal: row.ordinal,
  };
}

/** The record of an entry that was just created with this ordinal. */
export function entryOfCreation({ id, createdAt, content }: NewEntry, ordinal: number): EntryRecord {
  return {
    id,
    spiffeId: content.spiffeId,
    parentId: content.parentId,
    selectors: content.selectors,
    x509SvidTtl: content.x509SvidTtl,
    jwtSvidTtl: content.jwtSvidTtl,
    federatesWith: content.federatesWith,
    admin: content.admin,
    downstream: content.downstream,
    storeSvid: content.storeSvid,
    expiresAt: content.expiresAt,
    dnsNames: content.dnsNames,
    hint: content.hint,
    disableX509SvidPrefetch: content.disableX509SvidPrefetch,
    jwtSvidIncludeJti: content.jwtSvidIncludeJti,
    idTemplate: content.idTemplate,
    maxTaskDuration: content.maxTaskDuration,
    exchangeAudiences: content.exchangeAudiences,
    svidKeyType: content.svidKeyType,
    revision: 0,
    createdAt,
    ordinal,
  };
}
