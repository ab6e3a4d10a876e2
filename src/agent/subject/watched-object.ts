import { attestReference } from "../../attestation/attest-reference.ts";
import type { WorkloadAttestation } from "../../attestation/attest-workload.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { formatSelector, type Selector } from "../../spiffe/selector.ts";
import type { Spread } from "../cache/rotation.ts";
import type { EvidenceOptions } from "../workload-api/workload-call.ts";

/** One who holds an object. */
export interface ObjectHolder {
  /** The selectors by which it was answered, as text; `undefined` before that. */
  known: string | undefined;
  /** Aborted when the object is gone. */
  readonly gone: AbortController;
}

/** Selectors as text to compare by. */
export function selectorsText(selectors: readonly Selector[]): string {
  return JSON.stringify(selectors.map(formatSelector));
}

/** Bounds how many objects are looked at again at once: those whose turn it is not wait. */
export class LookTurns {
  #taken = 0;

  /** A turn until disposed, or `undefined` where all are taken. */
  take(): Disposable | undefined {
    if (this.#taken >= MAX_LOOKS) return undefined;
    this.#taken += 1;
    return { [Symbol.dispose]: () => void (this.#taken -= 1) };
  }
}

/** One object, looked at for all its holders: one look at a time, and one timer. */
export class WatchedObject {
  readonly #object: KubernetesObject;
  readonly #broker: SpiffeId;
  readonly #turns: LookTurns;
  readonly #options: EvidenceOptions & { readonly spread: Spread };
  readonly #holders = new Set<ObjectHolder>();
  readonly #ended = new AbortController();
  #looking: Promise<WorkloadAttestation> | undefined;
  #next: Disposable | undefined;
  #seenAt: number;

  constructor(
    object: KubernetesObject,
    broker: SpiffeId,
    turns: LookTurns,
    options: EvidenceOptions & { readonly spread: Spread },
  ) {
    this.#object = object;
    this.#broker = broker;
    this.#turns = turns;
    this.#options = options;
    this.#seenAt = options.clock.now();
  }

  /** Adds a holder, to be told when the object is gone. */
  add(holder: ObjectHolder): void {
    this.#holders.add(holder);
  }

  /** Lets go; true where that was the last holder, with whom it all ends. */
  remove(holder: ObjectHolder): boolean {
    if (!this.#holders.delete(holder) || this.#holders.size > 0) return false;
    this.#ended.abort(new AssayError("CANCELLED", "nobody asks any more"));
    this.#next?.[Symbol.dispose]();
    return true;
  }

  /**
   * What the object is, by the look that is under way or by a new one.
   * @throws AssayError as `attestReference`, `WORKLOAD_REFERENCE_INVALID` too where no attestor knows such references.
   */
  look(): Promise<WorkloadAttestation> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      this.follow();
    });
    return this.#looking;
  }

  /** Has the object looked at again after a while, where anybody was answered by it. */
  follow(): void {
    const isFollowed = [...this.#holders].some(
      ({ known, gone }) => known !== undefined && !gone.signal.aborted,
    );
    if (isFollowed && this.#looking === undefined && this.#next === undefined) this.#lookIn(LOOK_INTERVAL);
  }

  #lookIn(milliseconds: number): void {
    const { clock, spread } = this.#options;
    if (this.#ended.signal.aborted) return;
    this.#next = clock.schedule(milliseconds * (0.9 + spread() * 0.2), () => {
      this.#next = undefined;
      const turn = this.#turns.take();
      if (turn === undefined) {
        this.#lookIn(CROWDED_INTERVAL);
        return;
      }
      // What came of it the holders are told.
      void this.look()
        .catch(() => undefined)
        .finally(() => turn[Symbol.dispose]());
    });
  }

  async #look(): Promise<WorkloadAttestation> {
    const { attestors, clock, attestationTimeout: timeout } = this.#options;
    this.#next?.[Symbol.dispose]();
    this.#next = undefined;
    const { signal } = this.#ended;
    try {
      const found = await attestReference({
        attestors,
        reference: this.#object,
        broker: this.#broker,
        clock,
        timeout,
        signal,
      });
      if (found === undefined) {
        throw new AssayError(
          "WORKLOAD_REFERENCE_INVALID",
          "no attestor of this agent knows references of this type",
        );
      }
      this.#seenAt = clock.now();
      // Selectors that are missing because an attestor is in trouble say nothing.
      if (found.failures.length === 0) this.#requireSame(selectorsText(found.selectors));
      return found;
    } catch (thrown) {
      const error = toAssayError(thrown);
      const isOver = VERDICTS.has(error.code) || clock.now() - this.#seenAt >= UNSEEN_PATIENCE;
      if (isOver) this.#end(() => true, error);
      throw error;
    }
  }

  #requireSame(text: string): void {
    this.#end(
      ({ known }) => known !== undefined && known !== text,
      new AssayError("NOT_READY", "the workload has changed: ask again"),
    );
  }

  /** Tells holders that were answered; the others are answered by the look itself. */
  #end(isConcerned: (holder: ObjectHolder) => boolean, error: AssayError): void {
    for (const holder of this.#holders) {
      if (holder.known !== undefined && isConcerned(holder)) holder.gone.abort(error);
    }
  }
}

const VERDICTS: ReadonlySet<ErrorCode> = new Set([
  "WORKLOAD_REFERENCE_INVALID",
  "WORKLOAD_NOT_FOUND",
  "WORKLOAD_NOT_ENTITLED",
]);
const LOOK_INTERVAL = 10_000;
// A tenth of the interval: whoever waited comes soon.
const CROWDED_INTERVAL = 1000;
const UNSEEN_PATIENCE = 120_000;
const MAX_LOOKS = 32;
