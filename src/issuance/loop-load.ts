import { performance } from "node:perf_hooks";

/**
 * Tells whether the event loop of this thread is full: of the last fifth of a second, or the time since it was asked last
 * where that is longer, it had less than a tenth to spare. Cheap enough to be asked at every call.
 */
export function loopLoad(): () => boolean {
  let before = performance.eventLoopUtilization();
  let isFull = false;
  return () => {
    const now = performance.eventLoopUtilization();
    const active = now.active - before.active;
    const span = active + now.idle - before.idle;
    if (span >= WINDOW_MS) {
      isFull = active >= FULL * span;
      before = now;
    }
    return isFull;
  };
}

const WINDOW_MS = 200;
const FULL = 0.9;
