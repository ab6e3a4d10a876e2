/**
 * agent/sync/ — keeps the agent's entries and bundles as the server has them: by its stream, or by asking.
 *
 * Must never know what entries are for.
 * Called by the agent's composition.
 */
import type { Clock } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import type { SyncUpdate } from "../cache/sync-update.ts";
import { delay } from "../delay.ts";
import { isDenial } from "../link/denial.ts";
import type { ServerApi } from "../link/server-api.ts";
import { pollOnce } from "./poll.ts";

/** How the agent hears of changes. */
export type SyncState = "disconnected" | "stream" | "polling";

/** What a sync needs. */
export interface SyncerOptions {
  /** The server over the present connection; asked for anew at each attempt. */
  readonly server: () => Pick<ServerApi, "watch" | "authorizedEntries" | "bundle" | "federatedBundle">;
  readonly known: () => ReadonlyMap<string, WorkloadEntry>;
  /** Takes an update over. */
  readonly apply: (update: SyncUpdate) => void;
  /** Told when an update has come after an attempt began, the first time of each attempt. */
  readonly onConnected: () => void;
  /** Told of each attempt in which nothing was heard, the second in a row and later ones: the agent itself may be why. */
  readonly onUnheard: () => void;
  /** Whether workloads lack something that only the server can give, so that long pauses would hurt. */
  readonly isNeedy: () => boolean;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Milliseconds between questions where the server has no stream. */
  readonly pollInterval: number;
}

/** Follows the server until it is told to stop or the server says that the agent itself is at fault. */
export class Syncer {
  readonly #options: SyncerOptions;
  #state: SyncState = "disconnected";
  #lastSyncAt = 0;
  #attempt = new AbortController();
  #denial: AssayError | undefined;
  #streamless = 0;
  /** Ends the present pause before its time. */
  #hurry: (() => void) | undefined;

  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  get state(): SyncState {
    return this.#state;
  }

  /** When the server was last heard of, Unix milliseconds; 0 means never. */
  get lastSyncAt(): number {
    return this.#lastSyncAt;
  }

  /** Begins the present attempt anew, as after a change of the connection. What is known is kept. */
  restart(): void {
    this.#attempt.abort();
  }

  /**
   * Makes what is left of the present pause short: what the last attempts failed by may be over. An attempt under way is left
   * alone, and there is a moment of pause in any case, so that servers that tell different things are not asked without end.
   */
  hurry(): void {
    this.#hurry?.();
  }

  /** Ends `run` with a denial that another call met. */
  deny(error: AssayError): void {
    this.#denial = error;
    this.#attempt.abort();
  }

  /**
   * Follows until the signal is aborted.
   * @throws AssayError `AGENT_…` where the server refuses the agent.
   */
  async run(signal: AbortSignal): Promise<void> {
    this.#denial = undefined;
    let failures = 0;
    while (!signal.aborted) {
      this.#attempt = new AbortController();
      const both = AbortSignal.any([signal, this.#attempt.signal]);
      const before = this.#lastSyncAt;
      try {
        await this.#follow(both);
        failures = 0;
      } catch (thrown) {
        const error = this.#denial ?? toAssayError(thrown);
        if (isDenial(error.code)) {
          this.#state = "disconnected";
          throw error;
        }
        if (signal.aborted) break;
        const heard = this.#lastSyncAt > before;
        failures = heard ? 1 : failures + 1;
        if (failures > 1) this.#options.onUnheard();
        if (!this.#attempt.signal.aborted) await this.#pause(error, failures, heard, signal);
      }
      this.#checkDenial();
    }
    this.#state = "disconnected";
  }

  #checkDenial(): void {
    if (this.#denial === undefined) return;
    this.#state = "disconnected";
    throw this.#denial;
  }

  /** One attempt, by the stream if the server has one. Returns where it was told to begin anew. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (clock.now() >= this.#streamless) {
      try {
        await this.#followStream(signal);
        return;
      } catch (error) {
        if (!(error instanceof AssayError) || error.code !== "UNIMPLEMENTED") throw error;
        // A server may be upgraded, so this is not for ever.
        this.#streamless = clock.now() + STREAMLESS_FOR;
        this.#options.log.info("server tells no changes, asking at intervals", {
          [FIELD.retryMs]: this.#options.pollInterval,
        });
      }
    }
    await this.#followByAsking(signal);
  }

  async #followStream(signal: AbortSignal): Promise<void> {
    let connected = false;
    for await (const update of this.#options.server().watch(signal)) {
      this.#heard("stream");
      this.#options.apply(update);
      if (!connected) this.#options.onConnected();
      connected = true;
    }
    if (!signal.aborted) throw new AssayError("SERVER_UNAVAILABLE", "the server ended the stream");
  }

  async #followByAsking(signal: AbortSignal): Promise<void> {
    const { clock, spread, pollInterval } = this.#options;
    let connected = false;
    while (!signal.aborted && clock.now() < this.#streamless) {
      const update = await pollOnce(this.#options.server(), this.#options.known(), signal);
      this.#heard("polling");
      this.#options.apply(update);
      if (!connected) this.#options.onConnected();
      connected = true;
      await delay(clock, pollInterval * (0.9 + spread() * 0.2), signal);
    }
  }

  #heard(state: SyncState): void {
    this.#state = state;
    this.#lastSyncAt = this.#options.clock.now();
  }

  /** A connection that has served and ends is a server that lets go of old connections: back at once, without a word. */
  async #pause(error: AssayError, failures: number, heard: boolean, signal: AbortSignal): Promise<void> {
    const { clock, spread, log, pollInterval } = this.#options;
    const polling = clock.now() < this.#streamless;
    this.#state = "disconnected";
    const longest = this.#options.isNeedy() ? pollInterval : polling ? 48 * pollInterval : LONGEST_RETRY;
    const first = polling ? pollInterval : FIRST_RETRY;
    const wait =
      heard && !polling ? spread() * RECONNECT_SPREAD : retryDelay(failures, first, longest, spread);
    const fields = { [FIELD.retryMs]: Math.round(wait), [FIELD.error]: error };
    if (heard) log.debug("connection to the server ended, connecting again", fields);
    else log.warn("server cannot be followed", fields);
    const hurried = new AbortController();
    let soon: Disposable | undefined;
    this.#hurry = () => {
      soon ??= clock.schedule(retryDelay(1, FIRST_RETRY, LONGEST_RETRY, spread), () => hurried.abort());
    };
    await delay(clock, wait, AbortSignal.any([signal, this.#attempt.signal, hurried.signal]));
    soon?.[Symbol.dispose]();
    this.#hurry = undefined;
  }
}

const FIRST_RETRY = 200;
const LONGEST_RETRY = 30_000;
const RECONNECT_SPREAD = 50;
const STREAMLESS_FOR = 600_000;
