import type { Clock } from "../clock.ts";
import { type AssayError, toAssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import type { KubernetesObject } from "../plugin/workload-attestor.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import {
  type AttestorOutcome,
  combined,
  type NamedAttestor,
  type WorkloadAttestation,
  within,
} from "./attest-workload.ts";
import { checkedSelectors } from "./checked-selectors.ts";

/** One look at a workload that a broker named. */
export interface ReferenceAttestationRequest {
  readonly attestors: readonly NamedAttestor[];
  readonly reference: KubernetesObject;
  /** Who named it. */
  readonly broker: SpiffeId;
  readonly clock: Clock;
  /** Milliseconds that each attestor has. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
}

/**
 * Has all attestors that know this type of reference look the workload up. Where one of them says that there is no such
 * workload, or that this broker may not ask for it, that is the answer, whatever the others say. `undefined` where none
 * knows the type.
 * @throws AssayError `WORKLOAD_REFERENCE_INVALID`, `WORKLOAD_NOT_FOUND`,
 * `WORKLOAD_NOT_ENTITLED`; `WORKLOAD_ATTESTATION_FAILED` where no attestor could say anything; what the signal was
 * aborted with.
 */
export async function attestReference(
  request: ReferenceAttestationRequest,
): Promise<WorkloadAttestation | undefined> {
  const { attestors, signal } = request;
  signal?.throwIfAborted();
  const outcomes = await Promise.all(attestors.map((attestor) => attempt(attestor, request)));
  signal?.throwIfAborted();
  const known = outcomes.filter((outcome) => outcome !== undefined);
  for (const code of VERDICTS) {
    const verdict = known.find((outcome) => "error" in outcome && outcome.error.code === code);
    if (verdict !== undefined) throw (verdict as { readonly error: AssayError }).error;
  }
  return known.length === 0 ? undefined : combined(known);
}

async function attempt(
  { name, selectorType = name, instance }: NamedAttestor,
  request: ReferenceAttestationRequest,
): Promise<AttestorOutcome | undefined> {
  const { reference, broker } = request;
  try {
    const found = await within(request, async (signal) =>
      instance.attestReference?.(reference, broker, signal),
    );
    return found === undefined ? undefined : { selectors: checkedSelectors(found, selectorType) };
  } catch (error) {
    return { plugin: name, error: toAssayError(error) };
  }
}

// The first one counts.
const VERDICTS: readonly ErrorCode[] = [
  "WORKLOAD_REFERENCE_INVALID",
  "WORKLOAD_NOT_ENTITLED",
  "WORKLOAD_NOT_FOUND",
];
