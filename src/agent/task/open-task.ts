import type { JobPlatform, JobSurroundings } from "../../attestation/task/platforms/job-platform.ts";
import type { Clock } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import { delay } from "../delay.ts";
import type { TaskClient } from "./client.ts";
import type { TaskFacts } from "./task-answers.ts";
import { isTransient } from "./transient.ts";

/** What opening a task needs. */
export interface OpenTaskOptions {
  readonly client: Pick<TaskClient, "open">;
  readonly platform: JobPlatform;
  readonly job: JobSurroundings;
  /** Of the platform's token. */
  readonly audience: string;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
}

/**
 * Gets the platform's token and opens the task with it. While the platform or the server cannot be reached it tries again, each
 * time with a token as fresh as the platform has, since a token whose answer was lost may have been used up.
 * @throws AssayError of the last attempt, after a minute; at once where another attempt would be no better.
 */
export async function openTask(options: OpenTaskOptions, signal: AbortSignal): Promise<TaskFacts> {
  const { client, platform, job, audience, clock, spread, log } = options;
  const deadline = clock.now() + PATIENCE;
  /** The token whose answer was lost. */
  let lost: string | undefined;
  for (let failures = 1; ; failures++) {
    let token: string | undefined;
    try {
      token = await platform.token(job, { audience, signal });
      return await client.open(token, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toAssayError(thrown);
      const isRefused = !isTransient(error) && error.code !== "REMOTE_UNAVAILABLE";
      if (isRefused && token !== undefined && token === lost) {
        const { title } = platform;
        const detail = `${title} gives one token for a job, and the answer to it was lost: run the job again (${error.detail})`;
        throw new AssayError(error.code, detail, { cause: error });
      }
      if (isRefused) throw error;
      lost = token ?? lost;
      const pause = retryDelay(failures, FIRST_RETRY, LONGEST_RETRY, spread);
      if (clock.now() + pause >= deadline) throw error;
      log.warn("the task could not be opened, trying again", {
        [FIELD.retryMs]: Math.round(pause),
        // A job's log is read by people, and the stack of a connection that was refused tells them nothing.
        [FIELD.detail]: error.detail,
      });
      await delay(clock, pause, signal);
      signal.throwIfAborted();
    }
  }
}

const PATIENCE = 60_000;
const FIRST_RETRY = 500;
const LONGEST_RETRY = 10_000;
