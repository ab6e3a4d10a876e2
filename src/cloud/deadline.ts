/**
 * cloud/ — the services that hold keys or sign for others, one folder each: credentials, endpoints, deadlines, errors.
 *
 * Must never know what a key or a certificate is for, nor put a credential into an error or a log line.
 * Called by the plugins that stand on such a service: key managers and upstream authorities.
 */
import type { Clock } from "../clock.ts";

/** How long a call may take and who may end it earlier. */
export interface Deadline {
  readonly clock: Clock;
  /** Milliseconds until the call is given up. */
  readonly timeout: number;
  /** Gives up at once, with its own reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a call under a deadline. The call is told by its signal; whatever it makes of that, nobody waits for it longer.
 * @throws {DeadlinePassed} when the time is up, the reason of `signal` when that ended it, and what the call throws.
 */
export async function withDeadline<Result>(
  { clock, timeout, signal }: Deadline,
  call: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  signal?.throwIfAborted();
  const abort = new AbortController();
  const { promise: ended, reject: end } = Promise.withResolvers<never>();
  const stop = (reason: unknown) => {
    end(reason);
    abort.abort(reason);
  };
  const cancel = () => stop(signal?.reason);
  signal?.addEventListener("abort", cancel, { once: true });
  using _timer = clock.schedule(timeout, () => stop(new DeadlinePassed(timeout)));
  try {
    return await Promise.race([call(abort.signal), ended]);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** Resolves after `milliseconds`. @throws the reason of `signal` where that comes first. */
export async function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const cancel = () => reject(signal?.reason as Error);
  signal?.addEventListener("abort", cancel, { once: true });
  using _timer = clock.schedule(milliseconds, () => resolve(undefined));
  try {
    await promise;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** A service did not answer in time. */
export class DeadlinePassed extends Error {
  constructor(timeout: number) {
    super(`no answer within ${timeout} ms`);
    this.name = "DeadlinePassed";
  }
}
