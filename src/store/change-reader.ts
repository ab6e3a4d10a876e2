import type { ChangeRecord } from "./records.ts";
import type { ChangeLog } from "./store.ts";

/**
 * How a memory is kept in step with a store. Both read everything first and then give what takes it over at once, so that a
 * failure leaves no change untold.
 */
export interface FollowingMemory {
  /** Reads everything anew: at the start, and where the log has forgotten what this memory has not seen. */
  load(): Promise<() => void>;
  /** Reads what these rows name, at least one and all after each other. */
  read(rows: readonly ChangeRecord[]): Promise<() => void>;
}

/** Keeps a memory in step with a store by its change log, in order, one reading at a time. */
export class ChangeReader {
  readonly #changes: ChangeLog;
  readonly #memory: FollowingMemory;
  #sequence = 0;
  #loaded = false;
  #running: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(changes: ChangeLog, memory: FollowingMemory) {
    this.#changes = changes;
    this.#memory = memory;
  }

  /** How far in the change log the memory is. */
  get sequence(): number {
    return this.#sequence;
  }

  /**
   * Brings the memory at least to where the store is now. Calls made while one is under way share the next one.
   * @throws AssayError `STORE_UNAVAILABLE`; the memory is then behind, and the next call goes on where this one stopped.
   */
  catchUp(): Promise<void> {
    this.#waiting ??= this.#next();
    return this.#waiting;
  }

  async #next(): Promise<void> {
    await Promise.allSettled([this.#running]);
    this.#running = this.#waiting ?? this.#running;
    // From here on a write may be too late for this run: whoever asks now waits for the next one.
    this.#waiting = undefined;
    for (;;) {
      const rows = this.#loaded ? await this.#changes.since(this.#sequence, ROWS) : undefined;
      if (rows === undefined) {
        // Read before the tables: what changes while they are read is in the log after this place.
        const sequence = await this.#changes.latest();
        this.#taken(sequence, await this.#memory.load());
        continue;
      }
      const last = rows.at(-1);
      if (last === undefined) return;
      this.#taken(last.sequence, await this.#memory.read(rows));
    }
  }

  #taken(sequence: number, takeOver: () => void): void {
    this.#sequence = sequence;
    this.#loaded = true;
    takeOver();
  }
}

const ROWS = 1000;
