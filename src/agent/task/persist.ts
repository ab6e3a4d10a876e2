import type { Clock } from "../../clock.ts";
import { toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import { delay } from "../delay.ts";
import { isTransient } from "./transient.ts";

/** What asking again needs. */
export interface PersistOptions {
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
}

/**
 * Asks the server for something that a command cannot begin without, again and again for 20 s where it cannot be reached.
 * @throws AssayError of the last attempt; what the signal was aborted with.
 */
export async function persist<Answer>(
  ask: () => Promise<Answer>,
  { clock, spread, log }: PersistOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const deadline = clock.now() + PATIENCE;
  for (let failures = 1; ; failures++) {
    try {
      return await ask();
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toAssayError(thrown);
      const pause = retryDelay(failures, FIRST_RETRY, LONGEST_RETRY, spread);
      if (!isTransient(error) || clock.now() + pause >= deadline) throw error;
      log.warn("the task's server cannot be reached", { [FIELD.detail]: error.detail });
      await delay(clock, pause, signal);
      signal.throwIfAborted();
    }
  }
}

const PATIENCE = 20_000;
const FIRST_RETRY = 500;
const LONGEST_RETRY = 4000;
