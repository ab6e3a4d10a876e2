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

/** An attestor as the agent knows it. */
export interface NamedAttestor {
  readonly name: string;
  /** Type of its selectors, where that is not its name. */
  readonly selectorType?: string;
  readonly instance: WorkloadAttestor;
}

/** One look at one workload. */
export interface WorkloadAttestationRequest {
  /** Those that know nothing of processes are passed over. */
  readonly attestors: readonly NamedAttestor[];
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
  /** How many attestors answered, whatever they said. */
  readonly answered: number;
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
  const outcomes = await Promise.all(
    attestors.filter(looksAtProcesses).map((attestor) => attempt(attestor, request)),
  );
  signal?.throwIfAborted();
  requireAlive(process);
  return combined(outcomes);
}

/** What one attestor came to. */
export type AttestorOutcome = { readonly selectors: readonly Selector[] } | AttestorFailure;

/**
 * What several attestors found together.
 * @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where none succeeded.
 */
export function combined(outcomes: readonly AttestorOutcome[]): WorkloadAttestation {
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
  return { selectors: canonicalSelectors(selectors), failures, answered: outcomes.length - failures.length };
}

/** Whether an attestor can say something about a process. */
export function looksAtProcesses(attestor: NamedAttestor): attestor is ProcessAttestor {
  return attestor.instance.attest !== undefined;
}

/**
 * Waits for one attestor, for so long and no longer.
 * @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where it is late; what it throws; what the signal was aborted with.
 */
export async function within<Found>(
  { clock, timeout, signal }: Pick<WorkloadAttestationRequest, "clock" | "timeout" | "signal">,
  look: (signal: AbortSignal) => Promise<Found>,
): Promise<Found> {
  const deadline = new AbortController();
  using _timer = clock.schedule(timeout, () =>
    deadline.abort(new AssayError("WORKLOAD_ATTESTATION_FAILED", `took longer than ${timeout} ms`)),
  );
  const either = signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, signal]);
  return await raceAbort(look(either), either, "WORKLOAD_ATTESTATION_FAILED");
}

async function attempt(
  { name, selectorType = name, instance }: ProcessAttestor,
  request: WorkloadAttestationRequest,
): Promise<AttestorOutcome> {
  const { pid, uid, gid } = request.process;
  try {
    const found = await within(request, (signal) => instance.attest({ pid, uid, gid }, signal));
    return { selectors: checkedSelectors(found, selectorType) };
  } catch (error) {
    return { plugin: name, error: toAssayError(error) };
  }
}

type ProcessAttestor = NamedAttestor & {
  readonly instance: Required<Pick<WorkloadAttestor, "attest">>;
};

function requireAlive(process: LiveProcess): void {
  if (!process.isAlive()) throw new AssayError("CALLER_NOT_IDENTIFIED", `process ${process.pid} has ended`);
}
