import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { timeText } from "./table.ts";
import { idText, selectorTexts } from "./wire-text.ts";

/**
 * An entry as JSON shows it: the keys of an entry file, so that what is listed can be applied again, and what the server
 * adds. Lifetimes are seconds with their unit (`3600s`), times RFC 3339; what is not set is left out.
 */
export interface EntryView {
  readonly id: string;
  readonly spiffe_id: string;
  readonly parent_id: string;
  readonly selectors: readonly string[];
  readonly x509_svid_ttl?: string;
  readonly jwt_svid_ttl?: string;
  readonly federates_with: readonly string[];
  readonly dns_names: readonly string[];
  readonly hint?: string;
  readonly expires_at?: string;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly store_svid: boolean;
  readonly include_jti: boolean;
  readonly disable_x509_svid_prefetch: boolean;
  readonly revision: string;
  readonly created_at: string;
}

/** An entry of the wire for programs. Sets are sorted; DNS names keep their order, which certificates show. */
export function entryView(entry: Entry): EntryView {
  const attributes = entry.additionalAttributes;
  return {
    id: entry.id,
    spiffe_id: idText(entry.spiffeId),
    parent_id: idText(entry.parentId),
    selectors: selectorTexts(entry.selectors).toSorted(),
    ...(entry.x509SvidTtl === 0 ? {} : { x509_svid_ttl: `${entry.x509SvidTtl}s` }),
    ...(entry.jwtSvidTtl === 0 ? {} : { jwt_svid_ttl: `${entry.jwtSvidTtl}s` }),
    federates_with: entry.federatesWith.toSorted(),
    dns_names: entry.dnsNames,
    ...(entry.hint === "" ? {} : { hint: entry.hint }),
    ...(entry.expiresAt === 0n ? {} : { expires_at: timeText(entry.expiresAt) }),
    admin: entry.admin,
    downstream: entry.downstream,
    store_svid: entry.storeSvid,
    include_jti: attributes?.jwtSvidIncludeJti ?? false,
    disable_x509_svid_prefetch: attributes?.disableX509SvidPrefetch ?? false,
    revision: String(entry.revisionNumber),
    created_at: timeText(entry.createdAt),
  };
}
