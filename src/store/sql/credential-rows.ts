import { type Insertable, type Selectable, sql } from "kysely";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { CredentialKind, CredentialRecord } from "../task-store.ts";
import type { CredentialTable } from "./schema.ts";

/** A row of `credentials` as it is read. */
export type CredentialRow = Selectable<CredentialTable>;

/** The row of a credential. */
export function credentialRow(credential: CredentialRecord): Insertable<CredentialTable> {
  return {
    kind: credential.kind,
    id: credential.id,
    authority_id: credential.authorityId,
    spiffe_id: credential.spiffeId,
    entry_id: credential.entryId,
    task_id: credential.taskId,
    parent: credential.parent,
    issued_at: credential.issuedAt,
    expires_at: credential.expiresAt,
    status_list: credential.status?.list ?? null,
    status_index: credential.status?.index ?? null,
    revoked_at: credential.revokedAt,
    reason: credential.reason,
  };
}

/** The record of a row. */
export function credentialOfRow(row: CredentialRow): CredentialRecord {
  return {
    kind: row.kind as CredentialKind,
    id: row.id,
    authorityId: row.authority_id,
    spiffeId: row.spiffe_id as SpiffeId,
    entryId: row.entry_id,
    taskId: row.task_id,
    parent: row.parent,
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    ...(row.status_list !== null &&
      row.status_index !== null && { status: { list: row.status_list, index: row.status_index } }),
    revokedAt: row.revoked_at,
    reason: row.reason,
  };
}

/** How a credential is named in one text, as `parent` and the change log do: `kind:id`. */
export function credentialName({ kind, id }: { readonly kind: string; readonly id: string }): string {
  return `${kind}:${id}`;
}

/** Kind and id of a credential's name; a kind has no colon. */
export function credentialOfName(name: string): { readonly kind: string; readonly id: string } {
  const colon = name.indexOf(":");
  return { kind: name.slice(0, colon), id: name.slice(colon + 1) };
}

/** That a credential is a task's: said so that the index of those alone is taken, which a parameter would not do. */
export const HAS_TASK = sql<boolean>`task_id != ''`;
