/**
 * issuance/ — walks evidence → selectors → entries → policy → signature, and is the only place that decides.
 *
 * Must never know a wire format or a listener. Its outcomes are data; answers and audit records are made from them.
 * Called by server/ and agent/.
 */
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { CODES } from "../errors/codes.ts";
import type { AuditEvent } from "../observe/audit-events.ts";
import type { AuditRecord } from "../observe/audit-record.ts";
import type { Caller } from "./caller.ts";
import type { SvidsUnderWay } from "./svids-under-way.ts";

/** What every decision needs. */
export interface DecisionOptions {
  /** Writes records before it returns, or throws `AUDIT_UNAVAILABLE`. */
  readonly audit: {
    append(records: readonly AuditRecord[]): void;
    /** As `append`, together with what other calls write in the same turn; each call writes by itself where it is absent. */
    appendSoon?(records: readonly AuditRecord[]): Promise<void>;
  };
  /** A fresh, unguessable id. */
  readonly newDecisionId: () => string;
  /** What bounds the SVIDs under way; none are counted where it is absent. */
  readonly underWay?: SvidsUnderWay;
}

/** The facts of a decision beside its caller and outcome, as they become known. */
export type DecisionFacts = Partial<Omit<AuditRecord, "event" | "outcome" | "code" | "decision_id">>;

/** A decision that was made: what goes to the caller and what goes to the audit log. */
export type Decided<Value> =
  | { readonly value: Value; readonly error?: undefined; readonly record: AuditRecord }
  | { readonly value?: undefined; readonly error: AssayError; readonly record: AuditRecord };

/** Collects the facts of one decision while it is being made. */
export interface DecisionDraft {
  readonly id: string;
  /** Adds facts; later ones replace earlier ones of the same name. */
  note(facts: DecisionFacts): void;
}

/**
 * Makes one decision: runs `decide`, and turns its result or its error into an outcome with a record. The record is
 * not written yet, so that the decisions of a batch are written by one call.
 */
export async function decision<Value>(
  options: DecisionOptions,
  events: { readonly issued: AuditEvent; readonly refused: AuditEvent },
  caller: Caller,
  facts: DecisionFacts,
  decide: (draft: DecisionDraft) => Value | Promise<Value>,
): Promise<Decided<Value>> {
  const id = options.newDecisionId();
  const noted: DecisionFacts = Object.assign(callerFacts(caller), facts);
  const draft: DecisionDraft = {
    id,
    note(more) {
      Object.assign(noted, more);
    },
  };
  try {
    const value = await decide(draft);
    return { value, record: { event: events.issued, outcome: "issued", decision_id: id, ...noted } };
  } catch (thrown) {
    const error = withDecisionId(toAssayError(thrown), id);
    return {
      error,
      record: {
        event: events.refused,
        outcome: refusalOf(error),
        decision_id: id,
        code: error.code,
        ...noted,
        reasons: [...(noted.reasons ?? []), error.detail],
      },
    };
  }
}

/** A decision that is taken back before it was written: what was made is dropped, and its record says why. */
export function withdrawn<Value>(
  { record }: Decided<Value>,
  event: AuditEvent,
  error: AssayError,
): Decided<Value> {
  const reasons = [...(record.reasons ?? []), error.detail];
  return { error, record: { ...record, event, outcome: refusalOf(error), code: error.code, reasons } };
}

function refusalOf({ code }: AssayError): "failed" | "denied" {
  return CODES[code].http >= 500 ? "failed" : "denied";
}

/**
 * Writes the records of decisions and gives the decisions back.
 * @throws AssayError `AUDIT_UNAVAILABLE`: then nothing that was decided may leave.
 */
export function recorded<Value>(
  options: DecisionOptions,
  decided: readonly Decided<Value>[],
): readonly Decided<Value>[] {
  options.audit.append(decided.map(({ record }) => record));
  return decided;
}

/**
 * As {@link recorded}, by one write with the decisions of other calls of this turn.
 * @throws AssayError `AUDIT_UNAVAILABLE`: then nothing that was decided may leave.
 */
export async function recordedSoon<Value>(
  options: DecisionOptions,
  decided: readonly Decided<Value>[],
): Promise<readonly Decided<Value>[]> {
  const { audit } = options;
  const records = decided.map(({ record }) => record);
  if (audit.appendSoon === undefined) audit.append(records);
  else await audit.appendSoon(records);
  return decided;
}

/** The value of a decision that was made and recorded, or its error, thrown. */
export function outcomeOf<Value>(decided: Decided<Value>): Value {
  if (decided.error !== undefined) throw decided.error;
  return decided.value;
}

/** The caller's part of an audit record. */
export function callerFacts(caller: Caller): DecisionFacts {
  return {
    ...(caller.address !== "" && { caller_address: caller.address }),
    ...(caller.svid !== undefined && { caller_id: caller.svid.spiffeId }),
    ...(caller.process !== undefined && {
      caller_pid: caller.process.pid,
      caller_uid: caller.process.uid,
      caller_gid: caller.process.gid,
      ...(caller.process.path !== undefined && { caller_path: caller.process.path }),
    }),
  };
}

// What the caller may not read it can at least quote: the id leads an operator to the rest.
function withDecisionId(error: AssayError, id: string): AssayError {
  if (CODES[error.code].audience === "caller") return error;
  return new AssayError(error.code, `${error.detail} (decision ${id})`, { cause: error.cause ?? error });
}
