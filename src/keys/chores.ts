import type { Clock } from "../clock.ts";
import type { PluginLog } from "../plugin/host.ts";

/** What has to be done again and again while a key manager is open. */
export interface Chore {
  /** For the log: `keeping keys alive`. */
  readonly name: string;
  /** Milliseconds until the first time. */
  readonly first: number;
  /** Milliseconds from the end of one time to the beginning of the next. */
  readonly every: number;
  /** Does it once. The signal says that the manager is being closed. */
  run(signal: AbortSignal): Promise<void>;
}

/**
 * Does chores until disposed. None runs beside itself; what one throws is logged and tried again the next time.
 * Disposing tells those at work and waits for them.
 */
export function startChores(clock: Clock, log: PluginLog, chores: readonly Chore[]): AsyncDisposable {
  const stop = new AbortController();
  const waiting = new Map<Chore, Disposable>();
  const running = new Set<Promise<void>>();

  const arm = (chore: Chore, delay: number) => {
    const due = () => {
      const work = once(chore).finally(() => {
        running.delete(work);
        if (!stop.signal.aborted) arm(chore, chore.every);
      });
      running.add(work);
    };
    waiting.set(chore, clock.schedule(delay, due));
  };
  const once = async (chore: Chore) => {
    try {
      await chore.run(stop.signal);
    } catch (error) {
      if (stop.signal.aborted) return;
      log.warn("a chore of the key manager failed", { chore: chore.name, error: String(error) });
    }
  };

  for (const chore of chores) arm(chore, chore.first);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new Error("the key manager is being closed"));
      for (const wait of waiting.values()) wait[Symbol.dispose]();
      await Promise.all(running);
    },
  };
}
