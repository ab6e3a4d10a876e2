import type { Clock } from "../clock.ts";

/** Whether a key manager does what it is asked to. */
export interface KeyManagerState {
  readonly status: "ok" | "degraded";
  /** Milliseconds since the Unix epoch at which the status began. */
  readonly since: number;
  /** Why it is degraded: the latest failure, for the operator. */
  readonly cause?: string;
}

/**
 * What is known of a key manager from how its calls end. One failed call makes it degraded; it is well again when every
 * key that failed has worked since, was replaced or deleted, or was not asked for five minutes, as a key that is no longer active, and
 * nothing failed for five seconds, so that a manager which fails every other call does not change its state with each.
 */
export class KeyManagerHealth implements Disposable {
  readonly #clock: Clock;
  readonly #report: (state: KeyManagerState) => void;
  /** When each last failed. */
  readonly #failing = new Map<string, number>();
  #state: KeyManagerState;
  #calm: Disposable | undefined;

  /** @param report Called at each change of the status, not of the cause. */
  constructor(clock: Clock, report: (state: KeyManagerState) => void) {
    this.#clock = clock;
    this.#report = report;
    this.#state = { status: "ok", since: clock.now() };
  }

  /** What is known now. */
  get state(): KeyManagerState {
    return this.#state;
  }

  /** A call failed. @param subject The id of the key it was about, or "" for the manager as a whole. */
  failed(subject: string, cause: string): void {
    this.#failing.set(subject, this.#clock.now());
    this.#calm?.[Symbol.dispose]();
    this.#calm = undefined;
    const before = this.#state;
    const since = before.status === "ok" ? this.#clock.now() : before.since;
    this.#state = { status: "degraded", since, cause };
    if (before.status === "ok") this.#report(this.#state);
  }

  /** A call succeeded. @param subject As of {@link failed}. */
  worked(subject: string): void {
    if (this.#state.status === "ok") return;
    this.#failing.delete(subject);
    // Whatever answered, the manager as a whole can be reached.
    this.#failing.delete("");
    const now = this.#clock.now();
    for (const [other, at] of this.#failing) {
      if (at <= now - FORGOTTEN_MS) this.#failing.delete(other);
      // A clock that was set back must not keep it for as long as the step.
      else if (at > now) this.#failing.set(other, now);
    }
    this.#calmDown();
  }

  /** The manager told what keys it has, which it may know without its service: no proof that any of them works. */
  answered(): void {
    if (this.#failing.delete("")) this.#calmDown();
  }

  #calmDown(): void {
    if (this.#failing.size > 0) return;
    this.#calm ??= this.#clock.schedule(CALM_MS, () => {
      this.#calm = undefined;
      this.#state = { status: "ok", since: this.#clock.now() };
      this.#report(this.#state);
    });
  }

  [Symbol.dispose](): void {
    this.#calm?.[Symbol.dispose]();
  }
}

const CALM_MS = 5000;
const FORGOTTEN_MS = 300_000;
