import { AssayError } from "../../errors/assay-error.ts";
import type { AuditMatch } from "../../observe/audit-search.ts";
import type { StoredAuditRecord } from "../../observe/audit-record.ts";
import type { TaskIdentities } from "../../registry/task-identities.ts";
import type { CredentialRecord, CredentialStore, TaskRecord, TaskStore } from "../../store/task-store.ts";
import type { TaskIssuanceOptions, TaskSettings } from "./task-options.ts";

/** What an explanation is made from. */
export interface TaskExplanationOptions extends Pick<TaskIssuanceOptions, "identities"> {
  readonly taskRecords: Pick<TaskStore, "get">;
  readonly credentials: Pick<CredentialStore, "ofTask">;
  readonly settings: Pick<TaskSettings, "maxDuration">;
  /** The audit log's search, newest first. @throws AssayError `AUDIT_UNAVAILABLE`. */
  readonly searchAudit: (match: AuditMatch, limit: number) => Promise<readonly StoredAuditRecord[]>;
}

/** Everything that is known of one task, from the claims of its token to the end of what it got. */
export interface TaskExplanation {
  readonly id: string;
  /** Absent where the store has forgotten it; then the audit log alone tells. */
  readonly task?: KnownTask;
  /** All that was issued, in the order of issuing, with the audit record of it where the trail has one. */
  readonly issued: readonly IssuedToTask[];
  /** The records of the audit log that name the task, oldest first. */
  readonly trail: readonly StoredAuditRecord[];
  /** Whether there are older records than those of the trail. */
  readonly isCutOff: boolean;
}

/** A task that the store knows. */
export interface KnownTask {
  readonly record: TaskRecord;
  /** What the entries give for its evidence, as they are now. */
  readonly matching: TaskIdentities;
  readonly cap: TaskCap;
}

/**
 * What set the hard end: the server's own setting, the entry of this id, or something that is not there to be seen any more:
 * the platform's own end of the run, or an entry as it was then.
 */
export type TaskCap =
  | { readonly by: "setting" }
  | { readonly by: "entry"; readonly entryId: string }
  | { readonly by: "other" };

/** Something that was issued to a task. */
export interface IssuedToTask {
  readonly credential: CredentialRecord;
  readonly record?: StoredAuditRecord;
}

/** Most records of the audit log in one explanation; the newest are kept. */
export const MAX_TRAIL = 1000;

/**
 * Explains one task from the store, the entries and the audit log.
 * @throws AssayError `TASK_NOT_FOUND` where neither the store nor the audit log has it, `STORE_UNAVAILABLE`,
 * `AUDIT_UNAVAILABLE`.
 */
export async function explainTask(options: TaskExplanationOptions, id: string): Promise<TaskExplanation> {
  const { taskRecords, credentials, searchAudit } = options;
  const record = await taskRecords.get(id);
  const since = record === undefined ? {} : { since: record.openedAt - CLOCK_MARGIN };
  const found = await searchAudit({ field: "task_id", value: id, ...since }, MAX_TRAIL + 1);
  if (record === undefined && found.length === 0) {
    throw new AssayError("TASK_NOT_FOUND", `there is no task ${id}`);
  }
  const trail = found.slice(0, MAX_TRAIL).toReversed();
  const issued = (await credentials.ofTask(id)).map((credential) => withRecord(credential, trail));
  const task = record === undefined ? undefined : knownTask(options, record);
  return { id, issued, trail, isCutOff: found.length > MAX_TRAIL, ...(task !== undefined && { task }) };
}

function knownTask({ identities, settings }: TaskExplanationOptions, record: TaskRecord): KnownTask {
  const matching = identities(record.attestor, record);
  return { record, matching, cap: capOf(record, matching, settings) };
}

function capOf(
  { openedAt, hardEnd }: TaskRecord,
  { identities }: TaskIdentities,
  { maxDuration }: TaskExplanationOptions["settings"],
): TaskCap {
  const life = hardEnd - openedAt;
  const entry = identities.find((identity) => identity.entry.maxTaskDuration === life)?.entry;
  if (entry !== undefined) return { by: "entry", entryId: entry.id };
  return life === maxDuration ? { by: "setting" } : { by: "other" };
}

function withRecord(credential: CredentialRecord, trail: readonly StoredAuditRecord[]): IssuedToTask {
  const { id, kind } = credential;
  const record = trail.find(
    ({ outcome, serial, jti }) => outcome === "issued" && (kind === "x509" ? serial : jti) === id,
  );
  return { credential, ...(record !== undefined && { record }) };
}

// The log's clock may have been set back a little since the task was opened.
const CLOCK_MARGIN = 300;
