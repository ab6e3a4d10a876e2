import type { Clock } from "../clock.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { Registry } from "../registry/registry.ts";
import type { Store } from "../store/store.ts";

/**
 * What has to be tidied up now and then: entries that have expired are deleted, so that agents are told; join tokens
 * that have expired are forgotten; rows of the change log that nobody can be behind any more are, too.
 */
export function startHousekeeping(parts: {
  readonly registry: Registry;
  readonly store: Pick<Store, "changes">;
  readonly clock: Clock;
  readonly log: Log;
}): AsyncDisposable {
  const { registry, store, clock, log } = parts;
  let wait: Disposable | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  async function tidy(): Promise<void> {
    const entries = await registry.entries.pruneExpired();
    if (entries.length > 0)
      log.info("expired registration entries deleted", { [FIELD.count]: entries.length });
    const tokens = await registry.joinTokens.prune();
    if (tokens > 0) log.info("expired join tokens forgotten", { [FIELD.count]: tokens });
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

const INTERVAL_MS = 5_000;
// A follower that is further behind reads everything anew, which costs less than this many single changes.
const KEPT_CHANGES = 100_000;
