import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { durationText, facts, timeText } from "./table.ts";
import { idText, selectorTexts } from "./wire-text.ts";

/** An entry for people: what is set, one fact a line. */
export function entryText(entry: Entry): string {
  const { additionalAttributes: attributes, assay } = entry;
  return facts([
    ["Entry ID", entry.id],
    ["SPIFFE ID", idText(entry.spiffeId)],
    ...optional("ID template", assay === undefined || assay.idTemplate === "" ? [] : [assay.idTemplate]),
    ["Parent ID", idText(entry.parentId)],
    ["Revision", String(entry.revisionNumber)],
    ["X509-SVID TTL", durationText(entry.x509SvidTtl)],
    ["JWT-SVID TTL", durationText(entry.jwtSvidTtl)],
    ...optional(
      "Longest task",
      (assay?.maxTaskDuration ?? 0) === 0 ? [] : [durationText(assay?.maxTaskDuration ?? 0)],
    ),
    ["Selectors", selectorTexts(entry.selectors)],
    ...optional("Federates with", entry.federatesWith),
    ...optional("DNS names", entry.dnsNames),
    ...optional("Hint", entry.hint === "" ? [] : [entry.hint]),
    ...optional("Exchangeable for", assay?.exchangeAudiences ?? []),
    ...optional("Key type", (assay?.svidKeyType ?? "") === "" ? [] : [assay?.svidKeyType ?? ""]),
    ...optional("Expires", entry.expiresAt === 0n ? [] : [timeText(entry.expiresAt)]),
    ...optional("Flags", [
      ...(entry.admin ? ["admin"] : []),
      ...(entry.downstream ? ["downstream"] : []),
      ...(entry.storeSvid ? ["store-svid"] : []),
      ...(attributes?.disableX509SvidPrefetch === true ? ["no X509-SVID prefetch"] : []),
      ...(attributes?.jwtSvidIncludeJti === true ? ["jti in JWT-SVIDs"] : []),
    ]),
    ["Created", timeText(entry.createdAt)],
  ]);
}

function optional(name: string, values: readonly string[]): (readonly [string, readonly string[]])[] {
  return values.length === 0 ? [] : [[name, values]];
}
