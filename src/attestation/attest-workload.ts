import type { Clock } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { WorkloadAttestor, WorkloadProcess } from "../plugin/workload-attestor.ts";
import { canonicalSelectors, type Selector } from "../spiffe/selector.ts";
import { checkedSelectors } from "./checked-selectors.ts";
import { raceAbort } from "./race-abort.ts";

/** The process at the other end of a connection, and whether it still is. */
export interface LiveProcess extends WorkloadProcess {
  isAlive(): boolean;
}

/** One look at one workload. */
export interface WorkloadAttestationRequest {
  readonly attestors: readonly { readonly name: string; readonly instance: WorkloadAttestor }[];
  readonly process: LiveProcess;
  readonly clock: Clock;
  /** Milliseconds that each attestor has. */
  readonly timeout: number;
  /** Ends the attempt: the caller went away. */
  readonly signal?: AbortSignal;
}

/** What the attestors found. */
export interface WorkloadAttestation {
  /** Of all attestors that succeeded; sorted, each once. */
  readonly selectors: readonly Selector[];
  /** The attestors whose selectors are missing, and why. */
  readonly failures: readonly AttestorFailure[];
}

/** An attestor that could say nothing. */
export interface AttestorFailure {
  /** Name of the attestor. */
  readonly plugin: string;
  readonly error: AssayError;
}

/**
 * Has all attestors look at one process at the same time. One that fails or is late only loses its own selectors:
 * fewer selectors can only earn less. The process is checked before and after, so that facts about a process that
 * took over its pid never count.
 * @throws AssayError `CALLER_NOT_IDENTIFIED` where the process has ended; `WORKLOAD_ATTESTATION_FAILED` where no
 * attestor succeeded, its cause an `AggregateError` of their errors; what `signal` was aborted with.
 */
export async function attestWorkload(request: WorkloadAttestationRequest): Promise<WorkloadAttestation> {
  const { attestors, process, signal } = request;
  requireAlive(process);
  signal?.throwIfAborted();
  const outcomes = await Promise.all(attestors.map((attestor) => attempt(attestor, request)));
  signal?.throwIfAborted();
  requireAlive(process);
  const failures = outcomes.flatMap((outcome) => ("error" in outcome ? [outcome] : []));
  if (failures.length === outcomes.length) {
    const names = failures
      .map(({ plugin, error }) => `${plugin} (${error.code}: ${error.detail})`)
      .join(", ");
    throw new AssayError(
      "WORKLOAD_ATTESTATION_FAILED",
      `no workload attestor succeeded: ${names || "none is configured"}`,
      {
        cause: new AggregateError(failures.map(({ error }) => error)),
      },
    );
  }
  const selectors = outcomes.flatMap((outcome) => ("error" in outcome ? [] : outcome.selectors));
  return { selectors: canonicalSelectors(selectors), failures };
}

async function attempt(
  { name, instance }: { readonly name: string; readonly instance: WorkloadAttestor },
  { process: { pid, uid, gid }, clock, timeout, signal }: WorkloadAttestationRequest,
): Promise<{ readonly selectors: readonly Selector[] } | AttestorFailure> {
  const deadline = new AbortController();
  using _timer = clock.schedule(timeout, () =>
    deadline.abort(new AssayError("WORKLOAD_ATTESTATION_FAILED", `took longer than ${timeout} ms`)),
  );
  const either = signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, signal]);
  try {
    const found = instance.attest({ pid, uid, gid }, either);
    return {
      selectors: checkedSelectors(await raceAbort(found, either, "WORKLOAD_ATTESTATION_FAILED"), name),
    };
  } catch (error) {
    return { plugin: name, error: toAssayError(error) };
  }
}

function requireAlive(process: LiveProcess): void {
  if (!process.isAlive()) throw new AssayError("CALLER_NOT_IDENTIFIED", `process ${process.pid} has ended`);
}
