import type { ChangeLog } from "../store/store.ts";
import type { TaskRecord, TaskStore } from "../store/task-store.ts";

/** What follows the store: told of tasks as they are, and at times of all there are. */
export interface TaskFollower {
  /** Tasks as read; `undefined` for one that is not there any more. */
  changed(id: string, task: TaskRecord | undefined): void;
  /** Every task that is not `ended`. */
  loaded(tasks: readonly TaskRecord[]): void;
}

/** Reads what the store's change log says of tasks, in order, one reading at a time. */
export class TaskLog {
  readonly #store: { readonly tasks: TaskStore; readonly changes: ChangeLog };
  readonly #follower: TaskFollower;
  #sequence: number | undefined;
  #running: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(store: { readonly tasks: TaskStore; readonly changes: ChangeLog }, follower: TaskFollower) {
    this.#store = store;
    this.#follower = follower;
  }

  /**
   * Reads at least to where the store is now. Calls made while one is under way share the next one.
   * @throws AssayError `STORE_UNAVAILABLE`; the next call goes on where this one stopped.
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
    const { tasks, changes } = this.#store;
    for (;;) {
      const rows = this.#sequence === undefined ? undefined : await changes.since(this.#sequence, ROWS);
      if (rows === undefined) {
        // Read before the table: what changes while it is read is in the log after this place.
        const sequence = await changes.latest();
        this.#follower.loaded(await tasks.live());
        this.#sequence = sequence;
        continue;
      }
      const last = rows.at(-1);
      if (last === undefined) return;
      const ids = new Set(rows.filter(({ kind }) => kind === "task").map(({ key }) => key));
      for (const id of ids) this.#follower.changed(id, await tasks.get(id));
      this.#sequence = last.sequence;
    }
  }
}

const ROWS = 1000;
