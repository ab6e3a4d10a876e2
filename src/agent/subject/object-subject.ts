import type { WorkloadAttestation } from "../../attestation/attest-workload.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { WorkloadEvidence } from "../../issuance/workload/verdict.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { randomSpread, type Spread } from "../cache/rotation.ts";
import type { EvidenceOptions } from "../workload-api/workload-call.ts";
import type { HeldSubject } from "./process-subject.ts";
import { LookTurns, type ObjectHolder, selectorsText, WatchedObject } from "./watched-object.ts";

/** An object to be looked at. */
export interface ObjectToHold {
  readonly object: KubernetesObject;
  /** As the audit log shows it. */
  readonly reference: string;
  /** Who named it. */
  readonly broker: SpiffeId;
}

/** What holding objects needs. */
export interface ObjectSubjectsOptions extends EvidenceOptions {
  /** What the pauses between looks are spread by; random unless told. */
  readonly spread?: Spread;
}

/**
 * The workloads that objects stand for. An object is looked up again and again while it is held (Broker API §4.9), once for
 * all who hold it in the name of the same broker: whether it may be asked for depends on who asks. It is gone when it is
 * not found any more, is found to be something else, or could not be looked up for two minutes.
 */
export class ObjectSubjects {
  readonly #options: EvidenceOptions & { readonly spread: Spread };
  readonly #objects = new Map<string, WatchedObject>();
  readonly #turns = new LookTurns();

  constructor({ spread = randomSpread, ...evidence }: ObjectSubjectsOptions) {
    this.#options = { ...evidence, spread };
  }

  /** How many objects are held. */
  get size(): number {
    return this.#objects.size;
  }

  /**
   * Holds an object until disposed.
   * @throws AssayError `OVERLOADED` where as many others are held as may be.
   */
  hold({ object, reference, broker }: ObjectToHold): HeldSubject {
    const key = keyOf(object, broker);
    let watched = this.#objects.get(key);
    if (watched === undefined) {
      if (this.#objects.size >= MAX_OBJECTS) {
        throw new AssayError("OVERLOADED", `${MAX_OBJECTS} objects are held already, ask again later`);
      }
      watched = new WatchedObject(object, broker, this.#turns, this.#options);
      this.#objects.set(key, watched);
    }
    return this.#held(key, watched, reference);
  }

  #held(key: string, watched: WatchedObject, reference: string): HeldSubject {
    const gone = new AbortController();
    const holder: ObjectHolder = { known: undefined, gone };
    watched.add(holder);
    return {
      reference,
      gone: gone.signal,
      requirePresent: () => gone.signal.throwIfAborted(),
      async gather(signal) {
        signal.throwIfAborted();
        try {
          const found = await orAborted(watched.look(), signal);
          holder.known = selectorsText(found.selectors);
          watched.follow();
          return evidenceOf(found);
        } catch (error) {
          if (!(error instanceof AssayError) || error.code !== "WORKLOAD_ATTESTATION_FAILED") throw error;
          return { selectors: [], answered: 0, faults: [{ attestor: "all", detail: error.detail }] };
        }
      },
      [Symbol.dispose]: () => {
        if (watched.remove(holder)) this.#objects.delete(key);
      },
    };
  }
}

function keyOf({ plural, group, key, uid }: KubernetesObject, broker: SpiffeId): string {
  return JSON.stringify([broker, plural, group, key?.namespace, key?.name, uid]);
}

/** A look that others wait for too goes on when one of them leaves. */
async function orAborted<Found>(look: Promise<Found>, signal: AbortSignal): Promise<Found> {
  const aborted = Promise.withResolvers<never>();
  const leave = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([look, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function evidenceOf({ selectors, answered, failures }: WorkloadAttestation): WorkloadEvidence {
  return {
    selectors,
    answered,
    faults: failures.map(({ plugin, error }) => ({ attestor: plugin, detail: error.detail })),
  };
}

// Many times what a node runs; a broker that names other nodes' objects is no reason to look at all of a cluster.
const MAX_OBJECTS = 4096;
