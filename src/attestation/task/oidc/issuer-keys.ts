import type { Clock } from "../../../clock.ts";
import type { OidcKey, OidcKeySet } from "../../../crypto/jose/oidc-token-keys.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import type { PluginLog } from "../../../plugin/host.ts";
import { raceAbort } from "../../race-abort.ts";

/** What an issuer's keys are had from, and what they are for. */
export interface IssuerKeysOptions {
  /** Gets all keys anew; bounded in time by itself. Fails with an `AssayError`. */
  readonly load: (signal: AbortSignal) => Promise<OidcKeySet>;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/** How often an issuer is asked, milliseconds. */
export const ISSUER_KEYS_TIMES = {
  /** Keys are good for this long without asking. */
  fresh: 10 * 60_000,
  /** Keys that cannot be had anew are good for this long. */
  stale: 24 * 3_600_000,
  /** Whatever tokens come, there is no more than one attempt in this time. */
  floor: 60_000,
  /** The same while there are no keys at all. */
  emptyFloor: 5_000,
} as const;

/**
 * The keys of one issuer: had when first needed, had again when they are old or a token names one that is not among
 * them, and kept through the issuer's outages. All who wait, wait for the same attempt.
 */
export class IssuerKeys implements Disposable {
  readonly #options: IssuerKeysOptions;
  readonly #end = new AbortController();
  #keys: OidcKeySet | undefined;
  #loadedAt = 0;
  #attemptedAt: number | undefined;
  #fault: AssayError | undefined;
  #attempt: Promise<void> | undefined;

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
  }

  /**
   * The issuer's keys of this `kid`, at least one.
   * @throws AssayError `ATTESTATION_FAILED` where the issuer has none; `REMOTE_UNAVAILABLE` where that cannot be known now.
   */
  async keysOf(keyId: string, signal: AbortSignal): Promise<readonly OidcKey[]> {
    if (this.#age() >= ISSUER_KEYS_TIMES.fresh) await this.#loaded(signal);
    let found = this.#usable()?.get(keyId);
    if (found === undefined) {
      await this.#loaded(signal);
      found = this.#usable()?.get(keyId);
    }
    if (found !== undefined) return found;
    if (this.#fault !== undefined) {
      throw new AssayError("REMOTE_UNAVAILABLE", `the issuer's keys cannot be had: ${this.#fault.detail}`, {
        cause: this.#fault,
      });
    }
    throw new AssayError("ATTESTATION_FAILED", "kid is of no key that the issuer has published");
  }

  [Symbol.dispose](): void {
    this.#end.abort(new AssayError("SHUTTING_DOWN", "the attestor is being stopped"));
  }

  /** Waits for an attempt to have the keys anew, where one may be made now. Never fails but by the signal. */
  async #loaded(signal: AbortSignal): Promise<void> {
    if (this.#attempt === undefined && this.#mayAttempt()) {
      this.#attempt = this.#load().finally(() => (this.#attempt = undefined));
    }
    if (this.#attempt !== undefined) await raceAbort(this.#attempt, signal, "ATTESTATION_FAILED");
  }

  async #load(): Promise<void> {
    const { load, clock, log } = this.#options;
    this.#attemptedAt = clock.now();
    try {
      // Not the caller's signal: others wait for the same attempt.
      this.#keys = await load(this.#end.signal);
      this.#loadedAt = clock.now();
      this.#fault = undefined;
    } catch (error) {
      const fault =
        error instanceof AssayError
          ? error
          : new AssayError("REMOTE_UNAVAILABLE", "unknown reason", { cause: error });
      this.#fault = fault;
      if (!this.#end.signal.aborted) {
        log.warn("the keys of the issuer cannot be had", {
          reason: fault.detail,
          keys_kept: this.#keys?.size ?? 0,
        });
      }
    }
  }

  #usable(): OidcKeySet | undefined {
    return this.#age() < ISSUER_KEYS_TIMES.stale ? this.#keys : undefined;
  }

  #mayAttempt(): boolean {
    const { floor, emptyFloor } = ISSUER_KEYS_TIMES;
    if (this.#end.signal.aborted) return false;
    return since(this.#attemptedAt, this.#options.clock) >= (this.#keys === undefined ? emptyFloor : floor);
  }

  #age(): number {
    return since(this.#keys === undefined ? undefined : this.#loadedAt, this.#options.clock);
  }
}

// A clock that was set back tells nothing about how long ago it was.
function since(time: number | undefined, clock: Clock): number {
  const elapsed = time === undefined ? -1 : clock.now() - time;
  return elapsed < 0 ? Number.POSITIVE_INFINITY : elapsed;
}
