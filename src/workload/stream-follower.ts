import type { Clock } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { RpcError } from "../rpc/status.ts";
import { type Backoff, pauseAfter } from "./backoff.ts";

/** What following a stream of complete states needs. */
export interface StreamFollowerOptions<Message, State> {
  /** What the stream brings, for messages: `X509-SVIDs`. */
  readonly what: string;
  /** Begins the stream anew. */
  readonly open: (signal: AbortSignal) => AsyncIterable<Message>;
  /** The state that a message says; what it throws is reported and the message discarded (Workload API §4.5). */
  readonly read: (message: Message) => State;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onProblem: (problem: AssayError) => void;
}

/**
 * Holds a stream of the Workload API open and keeps the state that its last good message said, whole: what a message
 * leaves out is gone (Workload API §4.4).
 *
 * A stream that ends is begun again: at once if it had brought something (§4.2), otherwise after a pause that grows.
 * PermissionDenied withdraws the state (§5.2.1) and is tried again later. InvalidArgument (Workload Endpoint §6) and
 * Unimplemented (Workload API §7) are final: it asks no more, calls its listeners back and says why by `ended`. Like
 * trouble of any other kind they leave the last state standing, for they say nothing against it: an SVID is good until
 * its own end, a bundle until its user replaces it.
 */
export class StreamFollower<Message, State> implements AsyncDisposable {
  readonly #options: StreamFollowerOptions<Message, State>;
  readonly #stopped = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #running: Promise<void>;
  #state: State | undefined;
  #problem: AssayError;
  #ended: AssayError | undefined;

  constructor(options: StreamFollowerOptions<Message, State>) {
    this.#options = options;
    this.#problem = new AssayError("NOT_READY", `the Workload API has not answered with ${options.what} yet`);
    this.#running = this.#run();
  }

  /** The state, if there is one now. */
  get current(): State | undefined {
    return this.#state;
  }

  /** Why no state will come any more: a final refusal or the disposal; `undefined` while the stream is followed. */
  get ended(): AssayError | undefined {
    return this.#ended;
  }

  /** The state. @throws AssayError why there is none: `NO_IDENTITY_ISSUED`, `UNIMPLEMENTED`, `SERVER_UNAVAILABLE` … */
  require(): State {
    if (this.#state === undefined) throw this.#problem;
    return this.#state;
  }

  /** Calls back after each change of the state, its withdrawal among them, and at the end; a listener that throws is reported. */
  onUpdate(listener: () => void): Disposable {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  /**
   * Waits for the first state.
   * @throws AssayError the reason there is none, once that is final or `timeout` milliseconds have passed; `CANCELLED`
   * when the signal was aborted or the follower disposed.
   */
  async ready(timeout: number, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    using _update = this.onUpdate(resolve);
    using _timer = timeout === Number.POSITIVE_INFINITY ? undefined : clock.schedule(timeout, resolve);
    const giveUp = (): void => resolve();
    signal?.addEventListener("abort", giveUp, { once: true });
    // Pauses between attempts do not keep a program alive; somebody who waits for their end does.
    const alive = setInterval(() => undefined, KEEP_ALIVE_MS);
    try {
      if (this.#state === undefined && this.#ended === undefined && signal?.aborted !== true) await promise;
    } finally {
      clearInterval(alive);
      signal?.removeEventListener("abort", giveUp);
    }
    if (this.#state !== undefined) return;
    if (signal?.aborted === true)
      throw new AssayError("CANCELLED", "waiting for the Workload API was cancelled");
    throw this.#problem;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#running;
    this.#state = undefined;
    this.#end(new AssayError("CANCELLED", "the source is closed"));
    this.#listeners.clear();
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted; ) {
      const begun = clock.now();
      const { delivered, error } = await this.#follow(signal);
      if (signal.aborted) return;
      this.#report(error);
      const kind = kindOf(error);
      if (kind === "final") return this.#end(error);
      if (kind === "denied") this.#withdraw(error);
      else if (this.#state === undefined) this.#problem = error;
      failures = delivered ? 1 : failures + 1;
      // Somebody who answers and hangs up at once is not asked in a tight loop.
      const isFirst = delivered && kind === "passing" && clock.now() - begun >= SHORTEST_LIFE_MS;
      if (!isFirst) await pause(clock, pauseAfter(failures, BACKOFF[kind], random), signal);
    }
  }

  /** One stream to its end, which is always an error: a stream of the Workload API has none of its own. */
  async #follow(signal: AbortSignal): Promise<{ readonly delivered: boolean; readonly error: AssayError }> {
    let delivered = false;
    try {
      for await (const message of this.#options.open(signal)) {
        if (signal.aborted) break;
        delivered = true;
        this.#take(message);
      }
      const error = new AssayError("SERVER_UNAVAILABLE", `the stream of ${this.#options.what} ended`);
      return { delivered, error };
    } catch (thrown) {
      return { delivered, error: toAssayError(thrown) };
    }
  }

  #take(message: Message): void {
    try {
      this.#state = this.#options.read(message);
    } catch (thrown) {
      const { code, detail } = toAssayError(thrown);
      const problem = new AssayError(code, `message of ${this.#options.what} discarded: ${detail}`, {
        cause: thrown,
      });
      if (this.#state === undefined) this.#problem = problem;
      this.#report(problem);
      return;
    }
    this.#tell();
  }

  #withdraw(error: AssayError): void {
    const had = this.#state !== undefined;
    this.#state = undefined;
    this.#problem = error;
    if (had) this.#tell();
  }

  #end(error: AssayError): void {
    this.#ended = error;
    if (this.#state === undefined) this.#problem = error;
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (thrown) {
        this.#report(toAssayError(thrown));
      }
    }
  }

  #report(problem: AssayError): void {
    try {
      this.#options.onProblem(problem);
    } catch {
      // Whoever cannot hear of problems shall not make one of them.
    }
  }
}

type Kind = "final" | "denied" | "passing";

function kindOf(error: AssayError): Kind {
  switch (error instanceof RpcError ? error.status : undefined) {
    case "INVALID_ARGUMENT":
    case "UNIMPLEMENTED":
      return "final";
    case "PERMISSION_DENIED":
      return "denied";
    default:
      return "passing";
  }
}

/** Waits so many milliseconds, or until the signal is aborted. */
function pause(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      timer[Symbol.dispose]();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = clock.schedule(milliseconds, wake);
    signal.addEventListener("abort", wake, { once: true });
  });
}

const BACKOFF: Readonly<Record<Exclude<Kind, "final">, Backoff>> = {
  // An identity that is not there comes with somebody's decision, not in milliseconds.
  denied: { first: 1000, longest: 30_000 },
  passing: { first: 200, longest: 10_000 },
};
const SHORTEST_LIFE_MS = 1000;
const KEEP_ALIVE_MS = 2 ** 30;
