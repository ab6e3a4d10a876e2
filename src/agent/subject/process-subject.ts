/**
 * agent/subject/ — workloads that somebody else asks about: what they are, and when they are gone.
 *
 * Must never know who asks, nor what is answered.
 * Called by the agent's Delegated Identity API and its broker endpoint.
 */
import { AssayError } from "../../errors/assay-error.ts";
import { type PinnedProcess, pinProcess } from "../../peer/pinned-process.ts";
import { type EvidenceOptions, gatherEvidence, type WorkloadSubject } from "../workload-api/workload-call.ts";

/** A subject that is watched until disposed. */
export interface HeldSubject extends WorkloadSubject, Disposable {
  /** Aborted, with an `AssayError` as reason, when the workload is gone. */
  readonly gone: AbortSignal;
}

/** What holding a process needs. */
export interface ProcessSubjectOptions extends EvidenceOptions {
  /** Takes hold of a process; tests put their own in place. */
  readonly pin?: (pid: number) => PinnedProcess;
}

/**
 * The process of this number, held so that its number cannot come to mean another one (Broker API §3.1.3).
 * @throws AssayError `WORKLOAD_REFERENCE_INVALID` where it is no positive number, `WORKLOAD_NOT_FOUND` where there is no
 * such process.
 */
export function processSubject(pid: number, options: ProcessSubjectOptions): HeldSubject {
  if (!Number.isInteger(pid) || pid <= 0) {
    throw new AssayError("WORKLOAD_REFERENCE_INVALID", "pid must be a positive number");
  }
  const process = hold(pid, options.pin ?? pinProcess);
  const gone = new AbortController();
  const ended = () => new AssayError("WORKLOAD_NOT_FOUND", `process ${pid} has ended`);
  const requirePresent = () => {
    if (!process.isAlive()) throw ended();
  };
  let sweep: Disposable;
  const watch = () => {
    sweep = options.clock.schedule(SWEEP_INTERVAL, () => {
      if (process.isAlive()) watch();
      else gone.abort(ended());
    });
  };
  watch();
  return {
    reference: `pid ${pid}`,
    gone: gone.signal,
    requirePresent,
    async gather(signal) {
      try {
        return await gatherEvidence(process, options, signal);
      } catch (error) {
        requirePresent();
        throw error;
      }
    },
    [Symbol.dispose]() {
      sweep[Symbol.dispose]();
      process[Symbol.dispose]();
    },
  };
}

function hold(pid: number, pin: (pid: number) => PinnedProcess): PinnedProcess {
  try {
    return pin(pid);
  } catch (cause) {
    if (!(cause instanceof AssayError) || cause.code !== "NOT_FOUND") throw cause;
    throw new AssayError("WORKLOAD_NOT_FOUND", cause.detail, { cause });
  }
}

const SWEEP_INTERVAL = 1000;
