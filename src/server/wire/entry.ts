import type { Entry, EntryMask } from "../../proto/gen/spire/api/types/entry_pb.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EntrySchema } from "../../proto/gen/spire/api/types/entry_pb.ts";
import type { EntryDraft } from "../../registry/entry-rules.ts";
import { spiffeIdText, spiffeIdToWire } from "./spiffe-id.ts";

/** An entry as the wire library takes it. */
export type WireEntry = MessageInitShape<typeof EntrySchema>;

/**
 * Writes an entry for the wire. A mask that is absent keeps everything; one that is there keeps the id and what it
 * names.
 */
export function entryToWire(entry: EntryRecord, mask?: EntryMask): WireEntry {
  const whole: WireEntry = {
    id: entry.id,
    spiffeId: spiffeIdToWire(entry.spiffeId),
    parentId: spiffeIdToWire(entry.parentId),
    selectors: entry.selectors.map(({ type, value }) => ({ type, value })),
    x509SvidTtl: entry.x509SvidTtl,
    jwtSvidTtl: entry.jwtSvidTtl,
    federatesWith: [...entry.federatesWith],
    admin: entry.admin,
    downstream: entry.downstream,
    storeSvid: entry.storeSvid,
    expiresAt: BigInt(entry.expiresAt),
    dnsNames: [...entry.dnsNames],
    revisionNumber: BigInt(entry.revision),
    hint: entry.hint,
    createdAt: BigInt(entry.createdAt),
  };
  if (entry.disableX509SvidPrefetch || entry.jwtSvidIncludeJti) {
    whole.additionalAttributes = {
      disableX509SvidPrefetch: entry.disableX509SvidPrefetch,
      jwtSvidIncludeJti: entry.jwtSvidIncludeJti,
    };
  }
  if (mask === undefined) return whole;
  const masked: Record<string, unknown> = { id: entry.id };
  for (const field of MASKED_FIELDS) {
    if (mask[field]) masked[field] = whole[field as keyof typeof whole];
  }
  return masked as WireEntry;
}

/**
 * Reads an entry from the wire as a draft that the registry's rules then check.
 * @throws AssayError `INVALID_SPIFFE_ID` where an ID is missing.
 */
export function entryFromWire(wire: Entry): EntryDraft {
  return {
    ...(wire.id === "" ? {} : { id: wire.id }),
    spiffeId: spiffeIdText(wire.spiffeId, "spiffe_id"),
    parentId: spiffeIdText(wire.parentId, "parent_id"),
    ...looseFields(wire),
  };
}
