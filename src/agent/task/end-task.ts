import type { Clock } from "../../clock.ts";
import { toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import { delay } from "../delay.ts";
import type { TaskClient } from "./client.ts";
import { isTaskOver } from "./task-answers.ts";

/** What ending a task needs. */
export interface EndTaskOptions {
  readonly client: Pick<TaskClient, "end">;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
}

/**
 * Tells the server that the task has ended, again and again for some seconds where it cannot be reached. Never rejects: what
 * the server is not told, the lease tells it.
 */
export async function endTask({ client, clock, spread, log }: EndTaskOptions): Promise<void> {
  const tooLate = new AbortController();
  using _deadline = clock.schedule(PATIENCE, () =>
    tooLate.abort(new Error("the server was not reached in time")),
  );
  for (let failures = 1; ; failures++) {
    try {
      await client.end(tooLate.signal);
      log.info("task ended");
      return;
    } catch (thrown) {
      const error = toAssayError(thrown);
      if (isTaskOver(error.code)) return;
      await delay(clock, retryDelay(failures, FIRST_RETRY, LONGEST_RETRY, spread), tooLate.signal);
      if (!tooLate.signal.aborted) continue;
      log.error("the server could not be told that the task has ended, its lease will end it", {
        [FIELD.detail]: error.detail,
      });
      return;
    }
  }
}

const PATIENCE = 8000;
const FIRST_RETRY = 250;
const LONGEST_RETRY = 2000;
