import { AssayError } from "../../errors/assay-error.ts";
import type { Entry, EntryMask } from "../../proto/gen/spire/api/types/entry_pb.ts";
import { selectorOf } from "../../spiffe/selector.ts";
import type { EntryDraft } from "../../registry/entry-rules.ts";
import type { EntryUpdateDraft } from "../operations/entry-operations.ts";
import type { EntryMaskField } from "../../wire/entry.ts";
import { spiffeIdText } from "../../wire/spiffe-id.ts";

/**
 * Reads a new entry from the wire as a draft that the registry's rules then check.
 * @throws AssayError `INVALID_SPIFFE_ID` where an ID is missing, `INVALID_SELECTOR`, `INVALID_ENTRY`.
 */
export function entryFromWire(wire: Entry): EntryDraft {
  return {
    ...(wire.id === "" ? {} : { id: wire.id }),
    spiffeId: ownIdText(wire),
    parentId: spiffeIdText(wire.parentId, "parent_id"),
    selectors: selectorsFromWire(wire),
    x509SvidTtl: wire.x509SvidTtl,
    jwtSvidTtl: wire.jwtSvidTtl,
    federatesWith: wire.federatesWith,
    admin: wire.admin,
    downstream: wire.downstream,
    storeSvid: wire.storeSvid,
    expiresAt: seconds(wire.expiresAt),
    dnsNames: wire.dnsNames,
    hint: wire.hint,
    ...attributes(wire),
    ...extension(wire),
  };
}

/**
 * Reads a change of an entry from the wire: the fields that the mask names, or all without one. Without one the extension
 * stays as it is where it is absent: a client that has never heard of it does not clear it.
 * @throws AssayError as `entryFromWire`, and `INVALID_ENTRY` without an id.
 */
export function entryUpdateFromWire(wire: Entry, mask: EntryMask | undefined): EntryUpdateDraft {
  if (wire.id === "") throw new AssayError("INVALID_ENTRY", "id: missing entry ID");
  const changes = (field: EntryMaskField): boolean => mask === undefined || mask[field];
  return {
    id: wire.id,
    ...(changes("spiffeId") && { spiffeId: ownIdText(wire) }),
    ...(changes("parentId") && { parentId: spiffeIdText(wire.parentId, "parent_id") }),
    ...(changes("selectors") && { selectors: selectorsFromWire(wire) }),
    ...(changes("x509SvidTtl") && { x509SvidTtl: wire.x509SvidTtl }),
    ...(changes("jwtSvidTtl") && { jwtSvidTtl: wire.jwtSvidTtl }),
    ...(changes("federatesWith") && { federatesWith: wire.federatesWith }),
    ...(changes("admin") && { admin: wire.admin }),
    ...(changes("downstream") && { downstream: wire.downstream }),
    ...(changes("storeSvid") && { storeSvid: wire.storeSvid }),
    ...(changes("expiresAt") && { expiresAt: seconds(wire.expiresAt) }),
    ...(changes("dnsNames") && { dnsNames: wire.dnsNames }),
    ...(changes("hint") && { hint: wire.hint }),
    ...(changes("additionalAttributes") && attributes(wire)),
    ...(changes("assay") && (mask !== undefined || wire.assay !== undefined) && extension(wire)),
  };
}

function selectorsFromWire(wire: Entry): EntryDraft["selectors"] {
  return wire.selectors.map(({ type, value }) => selectorOf(type, value));
}

function attributes({ additionalAttributes }: Entry) {
  return {
    disableX509SvidPrefetch: additionalAttributes?.disableX509SvidPrefetch ?? false,
    jwtSvidIncludeJti: additionalAttributes?.jwtSvidIncludeJti ?? false,
  };
}

function extension({ assay }: Entry) {
  return {
    idTemplate: assay?.idTemplate ?? "",
    maxTaskDuration: assay?.maxTaskDuration ?? 0,
    exchangeAudiences: assay?.exchangeAudiences ?? [],
    svidKeyType: assay?.svidKeyType ?? "",
  };
}

// With a template the ID may be left out; the registry takes it from there.
function ownIdText({ spiffeId, assay }: Entry): string {
  if (spiffeId === undefined && assay !== undefined && assay.idTemplate !== "") return "";
  return spiffeIdText(spiffeId, "spiffe_id");
}

function seconds(wire: bigint): number {
  // What a double cannot hold lies beyond every bound of the rules, which then say so.
  return Number(wire);
}
