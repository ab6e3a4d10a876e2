import { readlink } from "node:fs/promises";
import type { LiveProcess } from "../../attestation/attest-workload.ts";
import { attestWorkload } from "../../attestation/attest-workload.ts";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEvidence } from "../../issuance/workload/verdict.ts";
import type { WorkloadAttestor } from "../../plugin/workload-attestor.ts";

/** One call of the Workload API, on whichever protocol it came. */
export interface WorkloadCall {
  /** The process that opened the connection. */
  readonly caller: LiveProcess;
  /** The method as the audit log names it. */
  readonly method: string;
  /** Aborted, with an `AssayError` as reason, when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** What looking at a process needs. */
export interface EvidenceOptions {
  readonly attestors: readonly { readonly name: string; readonly instance: WorkloadAttestor }[];
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
      answered: attestors.length - found.failures.length,
      faults: found.failures.map(({ plugin, error }) => ({ attestor: plugin, detail: error.detail })),
    };
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== "WORKLOAD_ATTESTATION_FAILED") throw error;
    return { selectors: [], answered: 0, faults: [{ attestor: "all", detail: error.detail }] };
  }
}

/** The executable of a process, or `undefined` where it cannot be read. */
export async function executableOf(pid: number): Promise<string | undefined> {
  try {
    return await readlink(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}
