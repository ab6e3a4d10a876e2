import type { TaskRecord } from "../store/task-store.ts";

/** The tasks that are not `ended`, by id and by key. */
export class TaskTable {
  readonly #byId = new Map<string, TaskRecord>();
  readonly #byKey = new Map<string, string>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): TaskRecord | undefined {
    return this.#byId.get(id);
  }

  byKey(key: string): TaskRecord | undefined {
    const id = this.#byKey.get(key);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  list(): readonly TaskRecord[] {
    return [...this.#byId.values()];
  }

  /**
   * Takes a task over as it was read, and gives it as it is known now. Reads may overtake each other: a task never goes
   * back from `ending`, nor its lease.
   */
  put(task: TaskRecord): TaskRecord {
    const known = this.#byId.get(task.id);
    if (task.state === "ended") {
      this.delete(task.id);
      return task;
    }
    if (known !== undefined && isNewer(known, task)) return known;
    this.#byId.set(task.id, task);
    this.#byKey.set(task.key, task.id);
    return task;
  }

  delete(id: string): void {
    const known = this.#byId.get(id);
    if (known === undefined) return;
    this.#byId.delete(id);
    if (this.#byKey.get(known.key) === id) this.#byKey.delete(known.key);
  }
}

function isNewer(known: TaskRecord, read: TaskRecord): boolean {
  if (known.state !== read.state) return known.state === "ending";
  return known.leaseExpiresAt > read.leaseExpiresAt;
}
