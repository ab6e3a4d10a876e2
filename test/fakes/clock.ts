import type { Clock } from "../../src/clock.ts";

/** A clock that stands still until told to move; wake-ups fire in order of their time. */
export class FakeClock implements Clock {
  #now: number;
  #next = 0;
  readonly #waiting = new Map<number, { at: number; callback: () => void }>();

  constructor(start: number | string = "2026-11-22T12:00:00Z") {
    this.#now = typeof start === "number" ? start : Date.parse(start);
  }

  now(): number {
    return this.#now;
  }

  schedule(milliseconds: number, callback: () => void): Disposable {
    const key = this.#next++;
    this.#waiting.set(key, { at: this.#now + Math.max(0, milliseconds), callback });
    return { [Symbol.dispose]: () => void this.#waiting.delete(key) };
  }

  /** How many wake-ups are pending. */
  get pending(): number {
    return this.#waiting.size;
  }

  /** Sets the time without firing anything, as a clock step does. */
  step(milliseconds: number): void {
    this.#now += milliseconds;
  }

  /** Moves time on, firing what falls due on the way, with the promise queue drained after each wake-up. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#waiting.entries()]
        .filter(([, wait]) => wait.at <= end)
        .toSorted((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (due === undefined) break;
      this.#waiting.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].callback();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#now = end;
  }
}
