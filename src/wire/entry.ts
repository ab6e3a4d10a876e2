import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Entry, EntryMask, EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import type { EntryRecord } from "../store/records.ts";
import { spiffeIdToWire } from "./spiffe-id.ts";

/** An entry as the wire library takes it. */
export type WireEntry = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

/**
 * Writes an entry for the wire. A mask that is absent keeps everything; one that is there keeps the id and what it
 * names.
 */
export function entryToWire(entry: Omit<EntryRecord, "ordinal">, mask?: EntryMask): WireEntry {
  const { idTemplate, maxTaskDuration, exchangeAudiences, svidKeyType } = entry;
  const isExtended =
    idTemplate !== "" || maxTaskDuration !== 0 || exchangeAudiences.length > 0 || svidKeyType !== "";
  const wire = agentEntryToWire(entry, mask);
  if (!isExtended || mask?.assay === false) return wire;
  return {
    ...wire,
    assay: { idTemplate, maxTaskDuration, exchangeAudiences: [...exchangeAudiences], svidKeyType },
  };
}

/** An entry without what only a server acts on. */
export type AgentEntry = Omit<
  EntryRecord,
  "ordinal" | "idTemplate" | "maxTaskDuration" | "exchangeAudiences"
>;

/** Writes an entry as agents get it and know it: without what only a server acts on, whatever the mask names. */
export function agentEntryToWire(entry: AgentEntry, mask?: EntryMask): WireEntry {
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
    // Whatever the mask names: an agent that makes keys of another type gets nothing.
    ...(entry.svidKeyType !== "" && { assay: { svidKeyType: entry.svidKeyType } }),
  };
}

/** The fields that a mask can name. */
export type EntryMaskField = Exclude<keyof EntryMask, `$${string}`>;
