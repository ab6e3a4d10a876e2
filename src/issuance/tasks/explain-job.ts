import { judgeTask } from "../../attestation/attest-task.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { TaskAttestation, TaskAttestor } from "../../plugin/task-attestor.ts";
import type { TaskIdentities } from "../../registry/task-identities.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import { taskKeyOf } from "../../tasks/life.ts";
import type { Tasks } from "../../tasks/tasks.ts";
import type { TaskIssuanceOptions } from "./task-options.ts";

/** What a dry run is made with. */
export interface JobExplanationOptions extends Pick<TaskIssuanceOptions, "identities"> {
  /** By the operator's names. */
  readonly attestors: ReadonlyMap<string, TaskAttestor>;
  readonly tasks: Pick<Tasks, "byKey">;
}

/** What would come of a job's token, without one: nothing is used up, opened or recorded. */
export type JobExplanation =
  | { readonly instance: string; readonly refusal: string }
  | {
      readonly instance: string;
      readonly refusal?: undefined;
      readonly attestation: TaskAttestation;
      readonly matching: TaskIdentities;
      /** The task that the run has already. */
      readonly task?: TaskRecord;
    };

/**
 * Says what a token with these claims would earn with one attestor. Neither its signature nor its age is looked at, so this
 * is no evidence of anything.
 * @throws AssayError `ATTESTOR_UNKNOWN` where there is no such attestor, or it cannot judge claims; `INTERNAL` where it
 * breaks its contract.
 */
export function explainJob(
  options: JobExplanationOptions,
  instance: string,
  claims: Readonly<Record<string, unknown>>,
): JobExplanation {
  let attestation: TaskAttestation;
  try {
    ({ attestation } = judgeTask(options.attestors, claims, instance));
  } catch (error) {
    // A refusal is what was asked for.
    if (!(error instanceof AssayError) || error.code !== "ATTESTATION_FAILED") throw error;
    return { instance, refusal: error.detail };
  }
  const task = options.tasks.byKey(taskKeyOf(instance, attestation.taskKey));
  const matching = options.identities(instance, attestation);
  return { instance, attestation, matching, ...(task !== undefined && { task }) };
}
