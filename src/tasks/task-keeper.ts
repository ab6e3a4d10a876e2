import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { ChangeReader } from "../store/change-reader.ts";
import type { NewTask, TaskEndReason, TaskOpening, TaskRecord, TaskStore } from "../store/task-store.ts";
import { Deadlines } from "./deadlines.ts";
import { endOf, isAlive } from "./life.ts";
import { taskMemory } from "./task-memory.ts";
import { TaskTable } from "./task-table.ts";
import type { EndingListener, EndOutcome, TaskEvent, Tasks, TasksOptions } from "./tasks.ts";

/** Keeps tasks: memory that follows the store, and one timer for whatever is due next. */
export class TaskKeeper implements Tasks {
  readonly #clock: Clock;
  readonly #tasks: TaskStore;
  readonly #options: TasksOptions;
  readonly #table = new TaskTable();
  readonly #due = new Deadlines();
  readonly #log: ChangeReader;
  readonly #listeners = new Set<EndingListener>();
  readonly #telling = new Map<string, Promise<void>>();
  #subscription: Disposable | undefined;
  #timer: { readonly at: number; readonly handle: Disposable } | undefined;
  #sweeping: Promise<void> | undefined;
  #following: Promise<void> = Promise.resolve();
  #lastNow: number;
  #closed = false;

  constructor(options: TasksOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#tasks = options.store.tasks;
    this.#lastNow = options.clock.now();
    const memory = taskMemory(this.#tasks, {
      changed: (id, task) => (task === undefined ? this.#forget(id) : void this.#take(task, TAKE_OVER)),
      loaded: (tasks) => this.#load(tasks),
    });
    this.#log = new ChangeReader(options.store.changes, memory);
  }

  /** Reads the store for the first time. */
  async start(): Promise<void> {
    await this.#log.catchUp();
    this.#subscription = this.#options.store.changes.subscribe(() => this.#follow());
  }

  get live(): number {
    return this.#table.size;
  }

  get(id: string): TaskRecord | undefined {
    return this.#table.get(id);
  }

  byKey(key: string): TaskRecord | undefined {
    return this.#table.byKey(key);
  }

  list(): readonly TaskRecord[] {
    return this.#table.list();
  }

  async open(
    task: NewTask,
    evidence: { readonly replayKey: string; readonly until: number },
  ): Promise<TaskOpening> {
    const opening = await this.#tasks.open(task, evidence);
    return opening.outcome === "replayed"
      ? opening
      : { ...opening, task: this.#take(opening.task, TAKE_OVER) };
  }

  async active(id: string): Promise<TaskRecord> {
    const known = this.#table.get(id) ?? (await this.#read(id));
    if (known === undefined) throw new AssayError("TASK_NOT_FOUND", `there is no task ${id}`);
    if (!isAlive(known, this.#clock)) throw over(id);
    return known;
  }

  async heartbeat(id: string): Promise<TaskRecord> {
    const { lease, hardEnd } = await this.active(id);
    const extended = await this.#tasks.extend(id, Math.min(unixSeconds(this.#clock) + lease, hardEnd));
    if (extended !== undefined) return this.#take(extended, TAKE_OVER);
    await this.#read(id);
    throw over(id);
  }

  async end(id: string, reason: TaskEndReason): Promise<EndOutcome> {
    const ended = await this.#tasks.end(id, reason, unixSeconds(this.#clock));
    if (ended !== undefined) {
      const task = this.#take(ended.task, 0);
      return { task, first: true, revoked: ended.revoked };
    }
    const task = await this.#read(id);
    if (task === undefined) throw new AssayError("TASK_NOT_FOUND", `there is no task ${id}`);
    return { task, first: false, revoked: [] };
  }

  onEnding(listener: EndingListener): Disposable {
    const own: EndingListener = (task) => listener(task);
    this.#listeners.add(own);
    for (const task of this.#table.list()) if (task.state === "ending") this.#tell(task);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  async catchUp(): Promise<void> {
    await this.#log.catchUp();
    await this.#sweep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#subscription?.[Symbol.dispose]();
    this.#timer?.handle[Symbol.dispose]();
    await Promise.allSettled([this.#sweeping, this.#following, ...this.#telling.values()]);
  }

  async #read(id: string): Promise<TaskRecord | undefined> {
    const task = await this.#tasks.get(id);
    return task === undefined ? undefined : this.#take(task, TAKE_OVER);
  }

  #load(tasks: readonly TaskRecord[]): void {
    const ids = new Set(tasks.map(({ id }) => id));
    for (const { id } of this.#table.list()) if (!ids.has(id)) this.#forget(id);
    for (const task of tasks) {
      if (task.state === "ending" && this.#table.get(task.id) === undefined) {
        this.#report({ kind: "found", task });
      }
      this.#take(task, 0);
    }
  }

  #forget(id: string): void {
    this.#table.delete(id);
    this.#due.delete(id);
  }

  /**
   * Takes a task over as read, with its next deadline.
   * @param patience Milliseconds to leave the telling of an end to whoever ended it; 0 where that is this server.
   */
  #take(read: TaskRecord, patience: number): TaskRecord {
    const before = this.#table.get(read.id);
    const task = this.#table.put(read);
    if (task.state === "ended") this.#forget(task.id);
    else if (task.state === "active") {
      // By a clock that was set back the lease would be longer than anybody gave.
      this.#await(task.id, Math.min(endOf(task), this.#clock.now() + task.lease * 1000));
    } else if (patience === 0) this.#tell(task);
    else if (before?.state !== "ending") this.#await(task.id, this.#clock.now() + patience);
    return task;
  }

  #await(id: string, at: number): void {
    this.#due.set(id, at);
    this.#schedule();
  }

  #schedule(): void {
    const next = this.#due.next();
    if (this.#closed || next === undefined || (this.#timer !== undefined && this.#timer.at <= next)) return;
    this.#timer?.handle[Symbol.dispose]();
    const now = this.#clock.now();
    // A timer does not see the clock being set, so none is longer than a glance now and then.
    const at = Math.min(next, now + GLANCE);
    const handle = this.#clock.schedule(Math.max(0, at - now), () => {
      this.#timer = undefined;
      this.#sweep().catch((error: unknown) => this.#fault(error));
    });
    this.#timer = { at, handle };
  }

  /** Does what is due; calls made meanwhile share it. */
  #sweep(): Promise<void> {
    this.#sweeping ??= this.#doWhatIsDue().finally(() => {
      this.#sweeping = undefined;
      this.#schedule();
    });
    return this.#sweeping;
  }

  async #doWhatIsDue(): Promise<void> {
    const now = this.#clock.now();
    if (now < this.#lastNow) this.#clockWasSetBack(now);
    this.#lastNow = now;
    while (!this.#closed) {
      const ids = this.#due.take(now, BATCH);
      if (ids.length === 0) return;
      await Promise.all(ids.map((id) => this.#fallDue(id)));
    }
  }

  async #fallDue(id: string): Promise<void> {
    const task = this.#table.get(id);
    if (task === undefined) return;
    try {
      if (task.state === "ending") await this.#takeOver(task);
      else await this.#expire(task);
    } catch (error) {
      this.#fault(error);
      this.#due.set(id, this.#clock.now() + RETRY);
    }
  }

  async #expire(known: TaskRecord): Promise<void> {
    // Another server may have taken a heartbeat of which this one has not heard yet.
    const task = await this.#read(known.id);
    if (task?.state !== "active" || task.leaseExpiresAt > known.leaseExpiresAt) return;
    this.#due.delete(known.id);
    const isCap = unixSeconds(this.#clock) >= task.hardEnd;
    const { first, task: ended } = await this.end(known.id, isCap ? "cap" : "lease");
    if (first) this.#report({ kind: "ended", task: ended });
  }

  async #takeOver(known: TaskRecord): Promise<void> {
    const task = await this.#tasks.get(known.id);
    if (task?.state !== "ending") {
      this.#forget(known.id);
      return;
    }
    if (!this.#telling.has(known.id)) this.#report({ kind: "found", task });
    this.#tell(task);
  }

  /** Has the listeners tell of an end, and closes the task when all have. */
  #tell(task: TaskRecord): void {
    this.#due.delete(task.id);
    if (this.#closed || this.#listeners.size === 0 || this.#telling.has(task.id)) return;
    const telling = this.#tellAndClose(task)
      .catch((error: unknown) => {
        this.#fault(error);
        const retry = () => void (this.#table.get(task.id)?.state === "ending" && this.#tell(task));
        if (!this.#closed) this.#clock.schedule(RETRY, retry);
      })
      .finally(() => this.#telling.delete(task.id));
    this.#telling.set(task.id, telling);
  }

  async #tellAndClose(task: TaskRecord): Promise<void> {
    await Promise.all([...this.#listeners].map(async (listener) => listener(task)));
    await this.#tasks.close(task.id);
    this.#forget(task.id);
  }

  #clockWasSetBack(now: number): void {
    for (const { id, state, lease } of this.#table.list()) {
      const at = this.#due.get(id);
      if (state === "active" && at !== undefined) this.#due.set(id, Math.min(at, now + lease * 1000));
    }
  }

  #follow(): void {
    if (this.#closed) return;
    this.#following = this.#log.catchUp().catch((error: unknown) => {
      this.#fault(error);
      this.#clock.schedule(RETRY, () => this.#follow());
    });
  }

  #report(event: TaskEvent): void {
    try {
      this.#options.report?.(event);
    } catch (error) {
      this.#fault(error);
    }
  }

  #fault(error: unknown): void {
    if (!this.#closed) this.#options.onFault?.(error);
  }
}

function over(id: string): AssayError {
  return new AssayError("TASK_OVER", `task ${id} has ended`);
}

// Milliseconds.
const GLANCE = 5000;
const RETRY = 1000;
const TAKE_OVER = 30_000;
// Tasks whose ends are written side by side.
const BATCH = 50;
