import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EntrySchema } from "../../src/proto/gen/spire/api/types/entry_pb.ts";
import { makeCertificate, makeKey } from "./certificates.ts";
import { wireId } from "./server-agent.ts";

/** The fields of an entry as a client writes them. */
export type EntryFields = Exclude<MessageInitShape<typeof EntrySchema>, { readonly $typeName: string }>;

/** An entry as a client writes it: `spiffe://example.org/<name>` below a parent. */
export function wireEntry(name: string, parent: string, fields: EntryFields = {}): EntryFields {
  return {
    spiffeId: wireId(`spiffe://example.org/${name}`),
    parentId: wireId(parent),
    selectors: [{ type: "unix", value: `user:${name}` }],
    ...fields,
  };
}

/** A foreign bundle as a client writes it, with one authority of each kind. */
export function wireBundle(trustDomain: string) {
  const key = makeKey();
  const { der } = makeCertificate({ subject: trustDomain, key, ca: true, uris: [`spiffe://${trustDomain}`] });
  return {
    trustDomain,
    x509Authorities: [{ asn1: der, tainted: false }],
    jwtAuthorities: [{ publicKey: key.spki, keyId: "k1", expiresAt: 4_000_000_000n, tainted: false }],
    refreshHint: 300n,
    sequenceNumber: 1n,
  };
}

/** The outcome of each item, as `code message`. */
export function statuses(
  results: readonly { readonly status?: { readonly code: number; readonly message: string } | undefined }[],
): readonly string[] {
  return results.map(({ status }) => (status === undefined ? "" : `${status.code} ${status.message}`));
}
