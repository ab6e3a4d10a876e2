import { readlink } from "node:fs/promises";
import type { LiveProcess, NamedAttestor } from "../../attestation/attest-workload.ts";
import { attestWorkload } from "../../attestation/attest-workload.ts";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { CallerProcess } from "../../issuance/caller.ts";
import type { WorkloadEvidence, WorkloadQuestion } from "../../issuance/workload/verdict.ts";
import type { SpiffeId } from "../../spiffe/id.ts";

/** One call of a workload about itself, on whichever protocol it came. */
export interface WorkloadCall {
  /** The process that opened the connection. */
  readonly caller: LiveProcess;
  /** The method as the audit log names it. */
  readonly method: string;
  /** Aborted, with an `AssayError` as reason, when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** One call of somebody who asks about another workload: a broker or a delegate. */
export interface ReferredCall {
  /** Who asks. */
  readonly asker: Asker;
  /** Whom the answer is about. */
  readonly subject: WorkloadSubject;
  /** The method as the audit log names it. */
  readonly method: string;
  /** Whether a stream about X509-SVIDs says that the subject has none and goes on, in place of failing. */
  readonly mayHaveNone?: boolean;
  /** Whether the call was counted by `WorkloadService.count` before its subject was looked for. */
  readonly isCounted?: boolean;
  /** Aborted, with an `AssayError` as reason, when nobody waits any more or the subject is gone. */
  readonly signal: AbortSignal;
}

/** One who asks in place of another. */
export interface Asker {
  /** SPIFFE ID that it has proved. */
  readonly spiffeId: SpiffeId;
  /** Network address without port; empty on a Unix socket. */
  readonly address: string;
  /** The process, where the kernel named it. */
  readonly process?: CallerProcess;
  /** @throws AssayError where it may no longer ask. */
  requireEntitled(): void;
}

/** A workload that somebody else asks about. */
export interface WorkloadSubject {
  /** What it was named by, as the audit log shows it. */
  readonly reference: string;
  /** Finds out what it is. @throws AssayError where it is gone, or what the signal was aborted with. */
  gather(signal: AbortSignal): Promise<WorkloadEvidence>;
  /** @throws AssayError where it is gone. */
  requirePresent(): void;
}

/** A call, whoever it is about. */
export type AnyWorkloadCall = WorkloadCall | ReferredCall;

/** Whether a call is about another than the one who asks. */
export function isReferredCall(call: AnyWorkloadCall): call is ReferredCall {
  return "subject" in call;
}

/** What the subject of a call is, by the attestors. @throws AssayError as `gatherEvidence`. */
export function evidenceOf(call: AnyWorkloadCall, options: EvidenceOptions): Promise<WorkloadEvidence> {
  return isReferredCall(call)
    ? call.subject.gather(call.signal)
    : gatherEvidence(call.caller, options, call.signal);
}

/** Who asks, as decisions and their records name it. */
export async function askerOf(
  call: AnyWorkloadCall,
): Promise<Pick<WorkloadQuestion, "process" | "referral">> {
  if (!isReferredCall(call)) {
    const { pid, uid, gid } = call.caller;
    return { process: await withPath({ pid, uid, gid }) };
  }
  const { asker, subject } = call;
  const { spiffeId: askerId, address, process } = asker;
  const referral = { askerId, address, reference: subject.reference };
  return process === undefined ? { referral } : { referral, process: await withPath(process) };
}

/** Nothing is prepared for one who has gone, or whose process has ended and left its socket to another. */
export function requireWaiting(call: AnyWorkloadCall): void {
  call.signal.throwIfAborted();
  if (isReferredCall(call)) {
    call.asker.requireEntitled();
    call.subject.requirePresent();
  } else if (!call.caller.isAlive()) {
    throw new AssayError("CALLER_NOT_IDENTIFIED", `process ${call.caller.pid} has ended`);
  }
}

/** What looking at a process needs. */
export interface EvidenceOptions {
  readonly attestors: readonly NamedAttestor[];
  readonly clock: Clock;
  /** Milliseconds that each attestor has. */
  readonly attestationTimeout: number;
}

/**
 * Has the attestors look at a process. That every one of them failed is evidence too: of trouble.
 * @throws AssayError `CALLER_NOT_IDENTIFIED` where the process has ended, or what the signal was aborted with.
 */
export async function gatherEvidence(
  process: LiveProcess,
  options: EvidenceOptions,
  signal?: AbortSignal,
): Promise<WorkloadEvidence> {
  const { attestors, clock, attestationTimeout: timeout } = options;
  try {
    const found = await attestWorkload({
      attestors,
      process,
      clock,
      timeout,
      ...(signal === undefined ? {} : { signal }),
    });
    return {
      selectors: found.selectors,
      answered: found.answered,
      faults: found.failures.map(({ plugin, error }) => ({ attestor: plugin, detail: error.detail })),
    };
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== "WORKLOAD_ATTESTATION_FAILED") throw error;
    return { selectors: [], answered: 0, faults: [{ attestor: "all", detail: error.detail }] };
  }
}

async function withPath(process: CallerProcess): Promise<CallerProcess> {
  const path = await executableOf(process.pid);
  return path === undefined ? process : { ...process, path };
}

/** The executable of a process, or `undefined` where it cannot be read. */
export async function executableOf(pid: number): Promise<string | undefined> {
  try {
    return await readlink(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}
