import type { Clock } from "../clock.ts";

/** Waits so many milliseconds by the clock, or until the signal is aborted; never rejects. */
export function delay(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const wake = () => {
      timer[Symbol.dispose]();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = clock.schedule(milliseconds, wake);
    signal.addEventListener("abort", wake, { once: true });
  });
}
