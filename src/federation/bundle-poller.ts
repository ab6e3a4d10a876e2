import type { Clock } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { trustDomainOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";
import type { FetchedBundle } from "./bundle-fetch.ts";
import { judgeBundle, refreshInterval } from "./judge-bundle.ts";
import type { Slots } from "./slots.ts";

/** What one poller works with. */
export interface BundlePollerOptions {
  readonly clock: Clock;
  /** A number from 0 up to but without 1. */
  readonly random: () => number;
  readonly fetch: (relationship: FederationRelationshipRecord, signal: AbortSignal) => Promise<FetchedBundle>;
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  /** Writes a bundle; when it resolves, `bundleOf` gives it. */
  readonly save: (bundle: SpiffeBundle) => Promise<void>;
  /** Must not throw. */
  readonly report: (event: FederationEvent) => void;
  readonly slots: Slots;
}

/** What happened at one attempt. Times are Unix milliseconds. */
export type FederationEvent =
  | (FetchedBundle & {
      readonly outcome: "changed" | "unchanged";
      readonly relationship: FederationRelationshipRecord;
      readonly at: number;
      /** Milliseconds that it took. */
      readonly elapsed: number;
      readonly nextAttemptAt: number;
    })
  | {
      readonly outcome: "failed" | "older";
      readonly relationship: FederationRelationshipRecord;
      readonly error: AssayError;
      readonly at: number;
      readonly elapsed: number;
      readonly nextAttemptAt: number;
      /** The last time that the bundle was found up to date; absent where it never was since this process began. */
      readonly lastSuccessAt?: number;
    };

/** How one relationship fares. Times are Unix milliseconds. */
export interface FederationStatus {
  readonly relationship: FederationRelationshipRecord;
  readonly lastAttemptAt?: number;
  readonly lastSuccessAt?: number;
  /** Why the last attempt failed; absent where it did not. */
  readonly lastError?: AssayError;
  readonly nextAttemptAt?: number;
}

/**
 * Keeps the bundle of one foreign trust domain fresh: asks at once, and then each time that the bundle's own hint has
 * passed, after a failure no sooner than after a success (SPIFFE Federation §6.2). What is stored stays in force until
 * something newer has come.
 */
export class BundlePoller implements AsyncDisposable {
  readonly #options: BundlePollerOptions;
  readonly #abort = new AbortController();
  #status: FederationStatus;
  #wait: Disposable | undefined;
  #running: Promise<FederationEvent> | undefined;

  constructor(relationship: FederationRelationshipRecord, options: BundlePollerOptions) {
    this.#options = options;
    this.#status = { relationship };
  }

  get status(): FederationStatus {
    return this.#status;
  }

  /** Asks now and says what came of it; an attempt that is under way is waited for, not doubled. */
  refresh(): Promise<FederationEvent> {
    this.#wait?.[Symbol.dispose]();
    this.#running ??= this.#options.slots
      .run(() => this.#attempt())
      .finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** Whether a bundle of this trust domain, set just now, may mend what the last attempt failed for. */
  mayBeMendedBy(trustDomain: TrustDomain): boolean {
    const { relationship, lastError } = this.#status;
    const { profile } = relationship;
    if (lastError === undefined || this.#running !== undefined || profile.type !== "https_spiffe")
      return false;
    return trustDomainOf(profile.endpointSpiffeId) === trustDomain;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    this.#wait?.[Symbol.dispose]();
    await this.#running;
  }

  async #attempt(): Promise<FederationEvent> {
    const { clock, report } = this.#options;
    const { relationship } = this.#status;
    const before = clock.now();
    const found = await this.#fetched(relationship);
    const at = clock.now();
    const nextAttemptAt = at + this.#interval(relationship.trustDomain);
    const facts = { relationship, at, elapsed: at - before, nextAttemptAt };
    const { lastSuccessAt } = this.#status;
    const event: FederationEvent =
      "error" in found
        ? { ...found, ...facts, ...(lastSuccessAt !== undefined && { lastSuccessAt }) }
        : { ...found, ...facts };
    if (this.#abort.signal.aborted) return event;
    this.#status =
      "error" in event
        ? { ...this.#status, lastAttemptAt: at, lastError: event.error, nextAttemptAt }
        : { relationship, lastAttemptAt: at, lastSuccessAt: at, nextAttemptAt };
    this.#wait = clock.schedule(nextAttemptAt - at, () => void this.refresh());
    report(event);
    return event;
  }

  async #fetched(relationship: FederationRelationshipRecord): Promise<Attempt> {
    const { fetch, bundleOf, save } = this.#options;
    try {
      const fetched = await fetch(relationship, this.#abort.signal);
      const stored = bundleOf(relationship.trustDomain);
      const outcome = judgeBundle(stored, fetched.bundle);
      if (outcome === "older") return { outcome, error: olderError(stored, fetched.bundle) };
      // A relationship that ended meanwhile must not bring its bundle back.
      this.#abort.signal.throwIfAborted();
      if (outcome === "changed") await save(fetched.bundle);
      return { ...fetched, outcome };
    } catch (error) {
      return { outcome: "failed", error: toAssayError(error) };
    }
  }

  #interval(trustDomain: TrustDomain): number {
    const { bundleOf, random } = this.#options;
    // Earlier, never later than the hint says; spread, so that those who began together do not stay together.
    return Math.round(refreshInterval(bundleOf(trustDomain)) * (1 - JITTER * random()));
  }
}

type Attempt =
  | (FetchedBundle & { readonly outcome: "changed" | "unchanged" })
  | { readonly outcome: "failed" | "older"; readonly error: AssayError };

function olderError(stored: SpiffeBundle | undefined, { trustDomain, sequence }: SpiffeBundle): AssayError {
  return new AssayError(
    "BUNDLE_NOT_FETCHED",
    `the endpoint serves the bundle of ${trustDomain} with sequence ${sequence}, older than the stored ${String(stored?.sequence)}: where the trust domain was made anew, set its bundle by hand`,
  );
}

const JITTER = 0.1;
