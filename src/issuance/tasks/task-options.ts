import { pathOf, type SpiffeId, spiffeIdOf } from "../../spiffe/id.ts";
import { taskParentId } from "../../spiffe/reserved.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { CredentialStore, TaskRecord } from "../../store/task-store.ts";
import type { TaskAttestation } from "../../plugin/task-attestor.ts";
import type { TaskFacts, TaskIdentities } from "../../registry/task-identities.ts";
import type { Tasks } from "../../tasks/tasks.ts";
import type { Caller } from "../caller.ts";
import type { DecisionOptions } from "../decision.ts";
import type { SvidOptions } from "../x509-svids.ts";

/** What issuing to tasks stands on. */
export interface TaskIssuanceOptions extends DecisionOptions, SvidOptions {
  readonly tasks: Tasks;
  /**
   * Has a platform's token verified by the one attestor that it is for.
   * @throws AssayError `ATTESTATION_FAILED`, `REMOTE_UNAVAILABLE`.
   */
  readonly attest: (token: string, signal: AbortSignal) => Promise<AttestedTask>;
  /** What the registration entries give a task of this attestor now. */
  readonly identities: (instance: string, facts: TaskFacts) => TaskIdentities;
  readonly credentials: Pick<CredentialStore, "record" | "reserveStatus">;
  /** Where a status list is fetched. */
  readonly statusListUri: (list: number) => string;
  readonly newTaskId: () => string;
  /** When the store was restored from a backup, Unix seconds: evidence of before may have been used without a trace. */
  readonly restoredAt?: number | undefined;
  readonly settings: TaskSettings;
}

/** The operator's settings for tasks, in seconds. */
export interface TaskSettings {
  /** How long a heartbeat is good for, 60 to 300. */
  readonly lease: number;
  /** Longest life of a task, at most 6 hours. */
  readonly maxDuration: number;
  /** How long after the lease an SVID may still be good. */
  readonly grace: number;
}

/** A run that one attestor vouches for. */
export interface AttestedTask {
  /** The operator's name of the attestor. */
  readonly instance: string;
  readonly attestation: TaskAttestation;
}

/** A caller that proved to hold the key of a task. */
export interface TaskCaller extends Caller {
  readonly task: TaskRecord;
}

/** The ID by which tokens for the task API name their task: `/spire/task/<instance>/<task id>`. No workload has it. */
export function taskSubject(trustDomain: TrustDomain, { attestor, id }: TaskRecord): SpiffeId {
  return spiffeIdOf(trustDomain, `${pathOf(taskParentId(trustDomain, attestor))}/${id}`);
}
