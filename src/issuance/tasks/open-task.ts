import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import type { TaskFacts, TaskIdentity } from "../../registry/task-identities.ts";
import type { NewTask, TaskOpening, TaskRecord } from "../../store/task-store.ts";
import { taskKeyOf } from "../../tasks/life.ts";
import type { Caller } from "../caller.ts";
import { type Decided, decision, type DecisionDraft, outcomeOf, recorded } from "../decision.ts";
import { attestedFacts, identityFacts, nothingEarned, taskFacts } from "./task-audit.ts";
import type { AttestedTask, TaskIssuanceOptions } from "./task-options.ts";

/** What a job shows to open its task. */
export interface TaskRequest {
  /** The platform's token. Hostile; whoever verifies it bounds it. */
  readonly token: string;
  /** Thumbprint of the key whose possession it proved: the first one is the task's for good. */
  readonly keyThumbprint: string;
  readonly signal: AbortSignal;
}

/** A task that is open for who asked. */
export interface OpenTask {
  readonly task: TaskRecord;
  /** Whether it was open before: the same run with the same key and a fresh token. */
  readonly isResumed: boolean;
  /** In order of the entries' creation; the first is the task's default. */
  readonly identities: readonly TaskIdentity[];
}

/**
 * Opens the task of a run: evidence, entries, bounds of its life, store, audit record, in this order. The evidence is used
 * up only where entries match, and then whatever comes of it.
 *
 * "Attestation failed" and "no entry matched" are the same to the caller: `NO_IDENTITY_ISSUED` with a decision id; the
 * audit log says which. Another key for a run that has a task is refused and makes a `task.alarm`, and so does evidence
 * that comes again with a key that is not its task's.
 * @throws AssayError `NO_IDENTITY_ISSUED`, `EVIDENCE_REPLAYED`, `TASK_KEY_MISMATCH`, `TASK_OVER`,
 * `REMOTE_UNAVAILABLE` where the platform's keys cannot be had, `STORE_UNAVAILABLE`,
 * `AUDIT_UNAVAILABLE`.
 */
export async function openTask(
  options: TaskIssuanceOptions,
  caller: Caller,
  request: TaskRequest,
): Promise<OpenTask> {
  let event: AuditEvent | undefined;
  const decided = await decision(options, OPENING, caller, {}, async (draft) => {
    const attested = await options.attest(request.token, request.signal);
    draft.note(attestedFacts(attested));
    refuseForgotten(options, attested);
    const identities = earned(options, attested.instance, attested.attestation, draft);
    const evidence = evidenceOf(attested);
    const opening = await options.tasks.open(newTask(options, request, attested, identities), evidence);
    const known = opening.outcome === "replayed" ? taskOfRun(options, attested) : opening.task;
    if (known !== undefined) draft.note(taskFacts(known));
    if (isAlarming(opening, known, request)) event = "task.alarm";
    const { task, outcome } = acceptedOpening(opening, draft);
    if (outcome === "opened") return { task, isResumed: false, identities };
    // What the task earns follows from the evidence that opened it, then and now.
    const own = earned(options, task.attestor, task, draft);
    const resumed = await options.tasks.heartbeat(task.id);
    event = "task.resumed";
    return { task: resumed, isResumed: true, identities: own };
  });
  const named = event === undefined ? decided : withEvent(decided, event);
  recorded(options, [named]);
  return outcomeOf(forCaller(named));
}

/** What the entries give, noted; nothing is a refusal. */
function earned(
  options: TaskIssuanceOptions,
  instance: string,
  facts: TaskFacts,
  draft: DecisionDraft,
): readonly TaskIdentity[] {
  const found = options.identities(instance, facts);
  const [first] = found.identities;
  if (first === undefined) {
    draft.note({ reasons: nothingEarned(found) });
    throw new AssayError("NO_IDENTITY_ISSUED", "no registration entry gives this task an identity");
  }
  draft.note(identityFacts(first));
  return found.identities;
}

function newTask(
  options: TaskIssuanceOptions,
  { keyThumbprint }: TaskRequest,
  { instance, attestation }: AttestedTask,
  identities: readonly TaskIdentity[],
): NewTask {
  const now = unixSeconds(options.clock);
  const { lease, maxDuration } = options.settings;
  const hardEnd = Math.min(
    now + maxDuration,
    ...identities.flatMap(({ entry }) => (entry.maxTaskDuration > 0 ? [now + entry.maxTaskDuration] : [])),
    ...(attestation.endsBy === undefined ? [] : [Math.floor(attestation.endsBy)]),
  );
  if (!(hardEnd > now)) {
    throw new AssayError("ATTESTATION_FAILED", "the platform has ended the run already");
  }
  return {
    id: options.newTaskId(),
    key: taskKeyOf(instance, attestation.taskKey),
    attestor: instance,
    platform: attestation.platform,
    issuer: attestation.issuer,
    description: attestation.description,
    granularity: attestation.granularity,
    keyThumbprint,
    selectors: attestation.selectors,
    guarded: attestation.guarded,
    claims: attestation.claims,
    authoredClaims: attestation.authoredClaims,
    openedAt: now,
    lease,
    leaseExpiresAt: Math.min(now + lease, hardEnd),
    hardEnd,
  };
}

// By its issuer, not by the instance: a token that two attestors would take is one piece of evidence.
function evidenceOf({ attestation }: AttestedTask): { readonly replayKey: string; readonly until: number } {
  const { issuer, replayKey, replayUntil } = attestation;
  return { replayKey: `${issuer} ${replayKey}`, until: Math.ceil(replayUntil) };
}

/** Refuses evidence that may have been used while a store was at work that is no longer there. */
function refuseForgotten({ restoredAt, clock }: TaskIssuanceOptions, { attestation }: AttestedTask): void {
  if (restoredAt === undefined) return;
  const { issuedAt } = attestation;
  const isFresh =
    issuedAt === undefined
      ? unixSeconds(clock) > restoredAt + UNDATED_REFUSED
      : issuedAt > restoredAt + ISSUERS_AHEAD;
  if (isFresh) return;
  throw new AssayError(
    "ATTESTATION_FAILED",
    "the evidence may be from before the store was restored from a backup; the platform has to make it anew",
  );
}

function taskOfRun({ tasks }: TaskIssuanceOptions, { instance, attestation }: AttestedTask) {
  return tasks.byKey(taskKeyOf(instance, attestation.taskKey));
}

/** Whether somebody else than the task's holder is at work. */
function isAlarming(
  { outcome }: TaskOpening,
  known: TaskRecord | undefined,
  { keyThumbprint }: TaskRequest,
): boolean {
  if (outcome === "otherKey") return true;
  // A job that did not get its answer asks again with the same token and its own key: refused, but nobody's attack.
  return outcome === "replayed" && known?.keyThumbprint !== keyThumbprint;
}

function acceptedOpening(
  opening: TaskOpening,
  draft: DecisionDraft,
): { readonly outcome: "opened" | "resumed"; readonly task: TaskRecord } {
  if (opening.outcome === "replayed") {
    throw new AssayError("EVIDENCE_REPLAYED", "the token was used before; ask the platform for a fresh one");
  }
  const { outcome, task } = opening;
  draft.note({ expires_at: task.hardEnd });
  switch (outcome) {
    case "opened":
    case "resumed":
      return { outcome, task };
    case "otherKey":
      throw new AssayError("TASK_KEY_MISMATCH", "the run has a task already, with another key");
    default:
      throw new AssayError("TASK_OVER", `the run's task ${task.id} has ended`);
  }
}

function withEvent<Value>(decided: Decided<Value>, event: AuditEvent): Decided<Value> {
  const record = { ...decided.record, event };
  return decided.error === undefined ? { value: decided.value, record } : { error: decided.error, record };
}

/** The decision as its caller may see it: failed evidence and missing entries look the same. */
function forCaller<Value>(decided: Decided<Value>): Decided<Value> {
  const code = decided.error?.code;
  if (code !== "ATTESTATION_FAILED" && code !== "NO_IDENTITY_ISSUED") return decided;
  const detail = `no identity issued (decision ${decided.record.decision_id ?? ""})`;
  return {
    record: decided.record,
    error: new AssayError("NO_IDENTITY_ISSUED", detail, { cause: decided.error }),
  };
}

// Seconds.
const UNDATED_REFUSED = 86_400;
// What is verified may be made by a clock that is so far ahead, and so may say that it was made after it was used.
const ISSUERS_AHEAD = 30;
const OPENING = { issued: "task.opened", refused: "task.denied" } as const;
