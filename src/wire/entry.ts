import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EntryMask, EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import type { EntryRecord } from "../store/records.ts";
import { spiffeIdToWire } from "./spiffe-id.ts";

/** An entry as the wire library takes it. */
export type WireEntry = MessageInitShape<typeof EntrySchema>;

/**
 * Writes an entry for the wire. A mask that is absent keeps everything; one that is there keeps the id and what it
 * names.
 */
export function entryToWire(entry: KnownEntry, mask?: EntryMask): WireEntry {
  const { idTemplate = "", maxTaskDuration = 0, exchangeAudiences = [] } = entry;
  const keeps = (field: EntryMaskField): boolean => mask === undefined || mask[field];
  return {
    id: entry.id,
    ...(keeps("spiffeId") && { spiffeId: spiffeIdToWire(entry.spiffeId) }),
    ...(keeps("parentId") && { parentId: spiffeIdToWire(entry.parentId) }),
    ...(keeps("selectors") && { selectors: entry.selectors.map(({ type, value }) => ({ type, value })) }),
    ...(keeps("x509SvidTtl") && { x509SvidTtl: entry.x509SvidTtl }),
    ...(keeps("jwtSvidTtl") && { jwtSvidTtl: entry.jwtSvidTtl }),
    ...(keeps("federatesWith") && { federatesWith: [...entry.federatesWith] }),
    ...(keeps("admin") && { admin: entry.admin }),
    ...(keeps("downstream") && { downstream: entry.downstream }),
    ...(keeps("storeSvid") && { storeSvid: entry.storeSvid }),
    ...(keeps("expiresAt") && { expiresAt: BigInt(entry.expiresAt) }),
    ...(keeps("dnsNames") && { dnsNames: [...entry.dnsNames] }),
    ...(keeps("revisionNumber") && { revisionNumber: BigInt(entry.revision) }),
    ...(keeps("hint") && { hint: entry.hint }),
    ...(keeps("createdAt") && { createdAt: BigInt(entry.createdAt) }),
    ...(keeps("additionalAttributes") &&
      (entry.disableX509SvidPrefetch || entry.jwtSvidIncludeJti) && {
        additionalAttributes: {
          disableX509SvidPrefetch: entry.disableX509SvidPrefetch,
          jwtSvidIncludeJti: entry.jwtSvidIncludeJti,
        },
      }),
    ...(keeps("assay") &&
      (idTemplate !== "" || maxTaskDuration !== 0 || exchangeAudiences.length > 0) && {
        assay: { idTemplate, maxTaskDuration, exchangeAudiences: [...exchangeAudiences] },
      }),
  };
}

/** An entry as whoever writes it knows it: an agent does not know what only a server acts on. */
export type KnownEntry = Omit<EntryRecord, "ordinal" | ServerField> & Partial<Pick<EntryRecord, ServerField>>;
type ServerField = "idTemplate" | "maxTaskDuration" | "exchangeAudiences";

/** The fields that a mask can name. */
export type EntryMaskField = Exclude<keyof EntryMask, `$${string}`>;
