import type { Clock } from "../../clock.ts";
import { type AssayError, toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { replaceAt, retryDelay, type Spread } from "../cache/rotation.ts";
import { isDenial } from "../link/denial.ts";

/** What renewing needs. */
export interface RenewalOptions {
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Makes a new SVID and takes it over, which calls `follow`. */
  readonly renew: () => Promise<void>;
  /** Told where the server refuses; nothing is tried again then. */
  readonly onDenied: (error: AssayError) => void;
}

/** When the agent's SVID is renewed: at half of its life, sooner where it may not last as long, and again after a failure. */
export class Renewal implements Disposable {
  readonly #options: RenewalOptions;
  #timer: Disposable | undefined;
  #isUnderWay = false;
  #closed = false;
  /** Which SVID is looked after, counted. */
  #svid = 0;

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  /** There is another SVID from now on, which ends then, Unix seconds. */
  follow(notAfter: number): void {
    const { clock, spread } = this.#options;
    this.#svid += 1;
    const now = clock.now();
    this.#renewIn(Math.max(0, replaceAt(now, notAfter * 1000, spread) - now), 0);
  }

  /**
   * Renews within ten seconds: once a tainted authority is revoked its SVIDs open no door; but not every agent is to come in
   * the same second.
   */
  hurry(): void {
    this.#renewIn(this.#options.spread() * TAINTED_SPREAD, 0);
  }

  /** There is no SVID any more. What is under way is nobody's then. */
  stop(): void {
    this.#svid += 1;
    this.#timer?.[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.stop();
  }

  #renewIn(wait: number, failures: number): void {
    const { clock, renew } = this.#options;
    this.#timer?.[Symbol.dispose]();
    if (this.#closed) return;
    this.#timer = clock.schedule(wait, () => {
      // Of two that are signed at once the server knows the later one alone, and the answers may come in another order.
      if (this.#isUnderWay) {
        this.#renewIn(FIRST_RETRY, failures);
        return;
      }
      this.#isUnderWay = true;
      const svid = this.#svid;
      renew()
        .finally(() => (this.#isUnderWay = false))
        .catch((thrown: unknown) => {
          if (this.#svid === svid) this.#failed(toAssayError(thrown), failures + 1);
        });
    });
  }

  #failed(error: AssayError, failures: number): void {
    const { log, onDenied, spread } = this.#options;
    log.warn("agent SVID could not be renewed", { [FIELD.error]: error });
    if (isDenial(error.code)) onDenied(error);
    else this.#renewIn(retryDelay(failures, FIRST_RETRY, LONGEST_RETRY, spread), failures);
  }
}

/** Milliseconds between the first failure and a further attempt, about. */
export const FIRST_RETRY = 500;
/** Milliseconds between attempts after many failures, at most. */
export const LONGEST_RETRY = 30_000;
const TAINTED_SPREAD = 10_000;
