import type { AssayError } from "../../errors/assay-error.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { EntryDraft } from "../../registry/entry-rules.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { EntryRecord } from "../../store/records.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** A change of an entry: only the members that are there change. */
export interface EntryUpdateDraft extends Partial<Omit<EntryDraft, "id">> {
  readonly id: string;
  /** Only if this is still the stored revision. */
  readonly revision?: number;
}

/**
 * What became of one entry of a batch: the entry as it stands now, or why not. With `ALREADY_EXISTS` the entry that
 * is in the way comes along, with `STALE_REVISION` the stored one.
 */
export type EntryOutcome =
  | { readonly entry: EntryRecord; readonly error?: undefined }
  | { readonly entry?: EntryRecord; readonly error: AssayError };

/** What became of one deletion: done, or why not (`ENTRY_NOT_FOUND`). */
export type EntryDeletion =
  | { readonly id: string; readonly error?: undefined }
  | { readonly id: string; readonly error: AssayError };

/** The registry, as far as entries are changed through it. Outcomes are in the order of what was asked. */
export interface OperatedEntries {
  createEntries(drafts: readonly EntryDraft[]): Promise<readonly EntryOutcome[]>;
  updateEntries(updates: readonly EntryUpdateDraft[]): Promise<readonly EntryOutcome[]>;
  deleteEntries(ids: readonly string[]): Promise<readonly EntryDeletion[]>;
}

/** Changes of registration entries. Outcomes are one for each item, in order; one bad item spoils no other. */
export interface EntryOperations {
  /** Item codes: `INVALID_ENTRY`, `INVALID_SPIFFE_ID`, `INVALID_SELECTOR`, `ALREADY_EXISTS`, `BUNDLE_NOT_FOUND`. */
  createEntries(call: OperatorCall, drafts: readonly EntryDraft[]): Promise<readonly EntryOutcome[]>;
  /** Item codes: those of creation, `ENTRY_NOT_FOUND`, `STALE_REVISION`. */
  updateEntries(call: OperatorCall, updates: readonly EntryUpdateDraft[]): Promise<readonly EntryOutcome[]>;
  /** Item codes: `ENTRY_NOT_FOUND`. */
  deleteEntries(call: OperatorCall, ids: readonly string[]): Promise<readonly EntryDeletion[]>;
}

/** Makes the operations on entries. */
export function entryOperations(options: {
  readonly entries: OperatedEntries;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): EntryOperations {
  const { entries, audit } = options;

  function record(event: AuditEvent, call: OperatorCall, outcomes: readonly EntryOutcome[]): void {
    const changed = outcomes.flatMap(({ entry, error }) => (error === undefined ? [entry] : []));
    if (changed.length === 0) return;
    audit.append(changed.map((entry) => changeRecord(event, call, entryFacts(entry))));
  }

  return {
    async createEntries(call, drafts) {
      const outcomes = await entries.createEntries(drafts);
      record("entry.created", call, outcomes);
      return outcomes;
    },
    async updateEntries(call, updates) {
      const outcomes = await entries.updateEntries(updates);
      record("entry.updated", call, outcomes);
      return outcomes;
    },
    async deleteEntries(call, ids) {
      const outcomes = await entries.deleteEntries(ids);
      const deleted = outcomes.filter(({ error }) => error === undefined);
      if (deleted.length > 0) {
        audit.append(deleted.map(({ id }) => changeRecord("entry.deleted", call, { entry_id: id })));
      }
      return outcomes;
    },
  };
}

function entryFacts(entry: EntryRecord): Partial<AuditRecord> {
  return {
    entry_id: entry.id,
    entry_revision: entry.revision,
    parent_id: entry.parentId,
    spiffe_id: entry.spiffeId,
    selectors: entry.selectors.map(formatSelector),
    ...(entry.expiresAt > 0 && { expires_at: entry.expiresAt }),
    ...(notable(entry).length > 0 && { reasons: notable(entry) }),
  };
}

// Who reads the audit log for who made an administrator, or widened what tasks are called, must not have to look up the
// entry.
function notable(entry: EntryRecord): readonly string[] {
  return [
    ...(entry.admin ? ["admin"] : []),
    ...(entry.downstream ? ["downstream"] : []),
    ...(entry.idTemplate === "" ? [] : [`id template ${entry.idTemplate}`]),
    ...entry.exchangeAudiences.map((audience) => `exchange for ${audience}`),
  ];
}
