import type { Clock } from "../../clock.ts";
import { type AssayError, toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import { delay } from "../delay.ts";
import type { TaskBundles, TaskClient } from "./client.ts";
import { isTaskOver, type TaskFacts } from "./task-answers.ts";

/** What keeping a task alive needs. */
export interface LeaseKeeperOptions {
  readonly client: Pick<TaskClient, "heartbeat" | "read" | "bundles">;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Takes over what the server says after each heartbeat. */
  readonly apply: (facts: TaskFacts, bundles: TaskBundles) => void;
  readonly signal: AbortSignal;
}

/**
 * Keeps a task alive until the signal is aborted: a heartbeat at a third of the lease, again and again where one fails,
 * and with each the identities and bundles as they are then. Never rejects.
 * @param lease Seconds.
 * @returns why the server says that the task is over, or `undefined` where the signal was aborted.
 */
export async function keepLease(
  { client, clock, spread, log, apply, signal }: LeaseKeeperOptions,
  lease: number,
): Promise<AssayError | undefined> {
  let current = lease;
  let failures = 0;
  for (;;) {
    const rest = (current * 1000) / 3;
    // A lost heartbeat is followed by several others within the same lease.
    const pause =
      failures === 0 ? rest * (0.9 + spread() * 0.2) : retryDelay(failures, FIRST_RETRY, rest / 4, spread);
    await delay(clock, pause, signal);
    if (signal.aborted) return undefined;
    try {
      current = (await client.heartbeat(signal)).lease;
      failures = 0;
      const [facts, bundles] = await Promise.all([client.read(signal), client.bundles(signal)]);
      apply(facts, bundles);
    } catch (thrown) {
      if (signal.aborted) return undefined;
      const error = toAssayError(thrown);
      if (isTaskOver(error.code)) return error;
      failures += 1;
      log.warn("the task's server cannot be reached", { [FIELD.detail]: error.detail });
    }
  }
}

const FIRST_RETRY = 1000;
