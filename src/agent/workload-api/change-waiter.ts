import type { Clock } from "../../clock.ts";
import type { ChangeBell } from "../cache/change-bell.ts";

/** Waits for rings of a bell on behalf of one stream. A ring that comes while the stream is busy is not lost. */
export class ChangeWaiter implements Disposable {
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #listening: Disposable;
  readonly #onAbort = () => this.#wake();
  #rung = false;
  #resolve: (() => void) | undefined;

  constructor(bell: ChangeBell, signal: AbortSignal, clock: Clock) {
    this.#signal = signal;
    this.#clock = clock;
    this.#listening = bell.listen(() => this.#wake());
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Resolves at the next ring, at abort, or at this time (Unix ms), whichever is first; never rejects. */
  async next(until: number): Promise<void> {
    if (this.#rung || this.#signal.aborted) {
      this.#rung = false;
      return;
    }
    const waited = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    const timer =
      until === Number.POSITIVE_INFINITY
        ? undefined
        : this.#clock.schedule(Math.max(0, until - this.#clock.now()), () => this.#wake());
    await waited;
    timer?.[Symbol.dispose]();
    this.#rung = false;
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#resolve?.();
  }

  #wake(): void {
    this.#rung = true;
    this.#resolve?.();
    this.#resolve = undefined;
  }
}
