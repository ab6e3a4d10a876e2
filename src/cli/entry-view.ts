import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { timeText } from "./table.ts";
import { idText, selectorTexts } from "./wire-text.ts";

/**
 * An entry as JSON shows it: as the server's HTTP API does, and with the keys of an entry file, so that what is listed can
 * be applied again. Lifetimes are seconds, 0 for the server's default; times are RFC 3339.
 */
export interface EntryView {
  readonly id: string;
  readonly spiffe_id: string;
  readonly parent_id: string;
  readonly selectors: readonly string[];
  readonly x509_svid_ttl: number;
  readonly jwt_svid_ttl: number;
  readonly federates_with: readonly string[];
  readonly dns_names: readonly string[];
  readonly hint: string;
  readonly expires_at: string | null;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly store_svid: boolean;
  readonly jwt_svid_include_jti: boolean;
  readonly disable_x509_svid_prefetch: boolean;
  readonly id_template: string;
  readonly max_task_duration: number;
  readonly exchange_audiences: readonly string[];
  readonly svid_key_type: string;
  readonly revision: number;
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
    x509_svid_ttl: entry.x509SvidTtl,
    jwt_svid_ttl: entry.jwtSvidTtl,
    federates_with: entry.federatesWith.toSorted(),
    dns_names: entry.dnsNames,
    hint: entry.hint,
    expires_at: entry.expiresAt === 0n ? null : timeText(entry.expiresAt),
    admin: entry.admin,
    downstream: entry.downstream,
    store_svid: entry.storeSvid,
    jwt_svid_include_jti: attributes?.jwtSvidIncludeJti ?? false,
    disable_x509_svid_prefetch: attributes?.disableX509SvidPrefetch ?? false,
    id_template: entry.assay?.idTemplate ?? "",
    max_task_duration: entry.assay?.maxTaskDuration ?? 0,
    exchange_audiences: (entry.assay?.exchangeAudiences ?? []).toSorted(),
    svid_key_type: entry.assay?.svidKeyType ?? "",
    revision: Number(entry.revisionNumber),
    created_at: timeText(entry.createdAt),
  };
}
