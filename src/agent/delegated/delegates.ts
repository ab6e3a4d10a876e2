/**
 * agent/delegated/ — the Delegated Identity API: programs that the operator trusts fetch identities of other workloads.
 *
 * Must never know how entries and SVIDs come to the agent; what a delegate may have is decided below.
 * Called by the agent's composition, on its admin socket.
 */
import type { Clock } from "../../clock.ts";
import type { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import { earnedEntries, type WorkloadEvent, type WorkloadQuestion } from "../../issuance/workload/verdict.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { Asker, WorkloadCall } from "../workload-api/workload-call.ts";
import type { IdentifiedCaller, WorkloadService } from "../workload-api/workload-service.ts";

/** What telling delegates from others needs. */
export interface DelegatesOptions {
  readonly service: Pick<WorkloadService, "identify">;
  readonly cache: AgentCache;
  readonly recorder: WorkloadRecorder;
  readonly clock: Clock;
  /** SPIFFE IDs of those who may ask for others; nobody may where it is empty. */
  readonly authorized: readonly SpiffeId[];
}

/** A delegate that may ask now. */
export interface AdmittedDelegate {
  readonly asker: Asker;
  /** What the delegate itself was found to be. */
  readonly question: WorkloadQuestion;
}

/** Tells delegates from others: a delegate is a workload one of whose own SPIFFE IDs the operator has named. */
export class Delegates {
  readonly #options: DelegatesOptions;
  readonly #authorized: ReadonlySet<SpiffeId>;

  constructor(options: DelegatesOptions) {
    this.#options = options;
    this.#authorized = new Set(options.authorized);
  }

  /**
   * Attests a caller as a workload and admits it where it is a delegate.
   * @throws AssayError `NO_IDENTITY_ISSUED` where it has no identity at all, `AUTHORIZATION_DENIED` where none of those it
   * has is a delegate's; `NOT_READY` and others that pass.
   */
  async admit(call: WorkloadCall, event: WorkloadEvent): Promise<AdmittedDelegate> {
    const identified = await this.#options.service.identify(call, event);
    const { question } = identified;
    const spiffeId = this.#delegateId(question);
    if (spiffeId === undefined) throw this.#refusal(identified);
    const { process } = question;
    return {
      question,
      asker: {
        spiffeId,
        address: "",
        ...(process === undefined ? {} : { process }),
        requireEntitled: () => {
          identified.requireWaiting();
          if (this.#delegateId(question) === undefined) throw this.#refusal(identified);
        },
      },
    };
  }

  /** The oldest identity of the caller that the operator has named. */
  #delegateId({ evidence }: WorkloadQuestion): SpiffeId | undefined {
    const { cache, clock } = this.#options;
    // Not by way of an answer, where a hint that two entries share would hide one of them.
    return earnedEntries(evidence.selectors, cache.table.index, clock.now()).find(({ spiffeId }) =>
      this.#authorized.has(spiffeId),
    )?.spiffeId;
  }

  #refusal(caller: IdentifiedCaller): AssayError {
    const now = this.#options.clock.now();
    if (caller.earned(now).length === 0) return caller.refusal(now);
    return this.#options.recorder.refused(
      { ...caller.question, at: now },
      {
        code: "AUTHORIZATION_DENIED",
        detail: "caller not configured as an authorized delegate",
        nearMisses: [],
      },
    );
  }
}
