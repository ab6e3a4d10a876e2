import { cautiousSeconds, type Clock } from "../clock.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { Registry } from "../registry/registry.ts";
import type { Store } from "../store/store.ts";

/**
 * What has to be tidied up now and then: entries that have expired are deleted, so that agents are told; join tokens
 * that have expired are forgotten; rows of the change log that nobody can be behind any more are, too, and tasks that ended
 * long ago with what was issued to them.
 */
export function startHousekeeping(parts: {
  readonly registry: Registry;
  readonly store: Pick<Store, "changes" | "tasks" | "credentials">;
  readonly clock: Clock;
  readonly log: Log;
}): AsyncDisposable {
  const { registry, store, clock, log } = parts;
  const past = cautiousSeconds(clock, MOST_FORGOTTEN);
  let wait: Disposable | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  async function tidy(): Promise<void> {
    const entries = await registry.entries.pruneExpired();
    if (entries.length > 0)
      log.info("expired registration entries deleted", { [FIELD.count]: entries.length });
    const tokens = await registry.joinTokens.prune();
    if (tokens > 0) log.info("expired join tokens forgotten", { [FIELD.count]: tokens });
    const now = past();
    const tasks = await store.tasks.prune(now - KEPT_TASKS);
    if (tasks > 0) log.debug("tasks of long ago and their evidence forgotten", { [FIELD.count]: tasks });
    const credentials = await store.credentials.prune(now - KEPT_CREDENTIALS);
    if (credentials > 0) log.debug("expired credentials forgotten", { [FIELD.count]: credentials });
    const latest = await store.changes.latest();
    if (latest > KEPT_CHANGES) await store.changes.prune(latest - KEPT_CHANGES);
  }

  function again(): void {
    wait = clock.schedule(INTERVAL_MS, () => {
      running = tidy()
        .catch((error: unknown) =>
          log.error("housekeeping failed, will be tried again", { [FIELD.error]: error }),
        )
        .then(() => {
          if (!closed) again();
        });
    });
  }
  again();

  return {
    async [Symbol.asyncDispose]() {
      closed = true;
      wait?.[Symbol.dispose]();
      await running;
    },
  };
}

// Seconds. Operators look back; and a run whose task is forgotten could open another one.
const KEPT_TASKS = 7 * 86_400;
// Seconds. For longer than anything revoked is named by lists after its end.
const KEPT_CREDENTIALS = 86_400;
// Seconds a time: evidence that was used is not to become good again where the clock is ahead for a while.
const MOST_FORGOTTEN = 60;
const INTERVAL_MS = 5_000;
// A follower that is further behind reads everything anew, which costs less than this many single changes.
const KEPT_CHANGES = 100_000;
