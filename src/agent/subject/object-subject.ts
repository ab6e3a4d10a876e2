import { attestReference } from "../../attestation/attest-reference.ts";
import type { WorkloadAttestation } from "../../attestation/attest-workload.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { WorkloadEvidence } from "../../issuance/workload/verdict.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { formatSelector, type Selector } from "../../spiffe/selector.ts";
import type { EvidenceOptions } from "../workload-api/workload-call.ts";
import type { HeldSubject } from "./process-subject.ts";

/** An object to be looked at. */
export interface ObjectToHold {
  readonly object: KubernetesObject;
  /** As the audit log shows it. */
  readonly reference: string;
  /** Who named it. */
  readonly broker: SpiffeId;
}

/**
 * The workload that an object stands for. It is looked up again and again while it is held (Broker API §4.9): it is gone
 * when it is not found any more, is found to be something else, or could not be looked up for two minutes.
 */
export function objectSubject(
  { object, reference, broker }: ObjectToHold,
  options: EvidenceOptions,
): HeldSubject {
  const { attestors, clock, attestationTimeout: timeout } = options;
  const gone = new AbortController();
  const disposed = new AbortController();
  let next: Disposable | undefined;
  let seenAt = clock.now();

  const look = async (signal: AbortSignal): Promise<WorkloadAttestation> => {
    const found = await attestReference({ attestors, reference: object, broker, clock, timeout, signal });
    if (found !== undefined) return found;
    throw new AssayError(
      "WORKLOAD_REFERENCE_INVALID",
      "no attestor of this agent knows references of this type",
    );
  };
  const watch = (known: string): void => {
    if (disposed.signal.aborted) return;
    next = clock.schedule(LOOK_INTERVAL, () => {
      look(disposed.signal).then(
        ({ selectors, failures }) => {
          seenAt = clock.now();
          // Selectors that are missing because an attestor is in trouble say nothing.
          if (failures.length === 0 && textOf(selectors) !== known) {
            gone.abort(new AssayError("NOT_READY", "the workload has changed: ask again"));
          } else watch(known);
        },
        (thrown: unknown) => {
          const error = toAssayError(thrown);
          const isOver = VERDICTS.has(error.code) || clock.now() - seenAt >= UNSEEN_PATIENCE;
          if (isOver) gone.abort(error);
          else watch(known);
        },
      );
    });
  };

  return {
    reference,
    gone: gone.signal,
    requirePresent: () => gone.signal.throwIfAborted(),
    async gather(signal) {
      try {
        const found = await look(signal);
        seenAt = clock.now();
        watch(textOf(found.selectors));
        return evidenceOf(found);
      } catch (error) {
        if (!(error instanceof AssayError) || error.code !== "WORKLOAD_ATTESTATION_FAILED") throw error;
        return { selectors: [], answered: 0, faults: [{ attestor: "all", detail: error.detail }] };
      }
    },
    [Symbol.dispose]() {
      disposed.abort(new AssayError("CANCELLED", "nobody asks any more"));
      next?.[Symbol.dispose]();
    },
  };
}

function evidenceOf({ selectors, answered, failures }: WorkloadAttestation): WorkloadEvidence {
  return {
    selectors,
    answered,
    faults: failures.map(({ plugin, error }) => ({ attestor: plugin, detail: error.detail })),
  };
}

function textOf(selectors: readonly Selector[]): string {
  return JSON.stringify(selectors.map(formatSelector));
}

const VERDICTS: ReadonlySet<ErrorCode> = new Set([
  "WORKLOAD_REFERENCE_INVALID",
  "WORKLOAD_NOT_FOUND",
  "WORKLOAD_NOT_ENTITLED",
]);
const LOOK_INTERVAL = 10_000;
const UNSEEN_PATIENCE = 120_000;
