/**
 * tasks/ — the lives of tasks: opened, kept by heartbeats, and ended by whoever or whatever ends them first.
 *
 * Must never know HTTP, evidence or an SVID: who may open a task and what it earns is decided elsewhere.
 * Called by issuance and by the server's composition; what it has in memory follows the store's change log.
 */
import type { Clock } from "../clock.ts";
import type { ChangeLog } from "../store/store.ts";
import type {
  CredentialRecord,
  NewTask,
  TaskEndReason,
  TaskOpening,
  TaskRecord,
  TaskStore,
} from "../store/task-store.ts";

/** The tasks of one trust domain. */
export interface Tasks extends AsyncDisposable {
  /**
   * Uses up evidence and opens the task of its key, or finds it. `lease` and `hardEnd` are the caller's decision.
   * @throws AssayError `STORE_UNAVAILABLE`.
   */
  open(task: NewTask, evidence: { readonly replayKey: string; readonly until: number }): Promise<TaskOpening>;
  /**
   * The task, if it is alive by the clock now. One that this server has not seen yet is looked for in the store.
   * @throws AssayError `TASK_OVER`, `TASK_NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  active(id: string): Promise<TaskRecord>;
  /** What memory has of a task that is not `ended`. Says nothing of the clock: see {@link isAlive}. */
  get(id: string): TaskRecord | undefined;
  /** The same by its key, see {@link taskKeyOf}. */
  byKey(key: string): TaskRecord | undefined;
  /** All tasks that are not `ended`, in no particular order. */
  list(): readonly TaskRecord[];
  /** How many are not `ended`. */
  readonly live: number;
  /**
   * Extends the lease from now on, never beyond the task's hard end.
   * @throws AssayError `TASK_OVER`, `TASK_NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  heartbeat(id: string): Promise<TaskRecord>;
  /**
   * Ends a task, once: everything issued to it is revoked in the store when the promise resolves, and telling others has
   * begun. Of any number of calls one is told `first`.
   * @throws AssayError `TASK_NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  end(id: string, reason: TaskEndReason): Promise<EndOutcome>;
  /**
   * Calls the listener with every task that is `ending`, those found at the start included, until disposed. When the
   * promises of all listeners have resolved the task is `ended`; where one rejects, all are called again a second later.
   * Without any listener tasks stay `ending`.
   */
  onEnding(listener: EndingListener): Disposable;
  /** Brings memory to where the store is, and ends what is due. @throws AssayError `STORE_UNAVAILABLE`. */
  catchUp(): Promise<void>;
}

/** Makes it known that a task is over. */
export type EndingListener = (task: TaskRecord) => void | Promise<void>;

/** What became of an attempt to end a task. */
export interface EndOutcome {
  readonly task: TaskRecord;
  /** Whether it was this call that ended it. */
  readonly first: boolean;
  /** What this call revoked. */
  readonly revoked: readonly CredentialRecord[];
}

/** What happened without anybody calling. */
export interface TaskEvent {
  /**
   * `ended`: lease or cap ended the task. `found`: it was `ending` when this server started, or another server began to
   * end it and did not go on; perhaps nobody told of it.
   */
  readonly kind: "ended" | "found";
  readonly task: TaskRecord;
}

/** What tasks stand on. */
export interface TasksOptions {
  readonly store: { readonly tasks: TaskStore; readonly changes: ChangeLog };
  readonly clock: Clock;
  /** Told what happens by itself. What it throws goes to `onFault`. */
  readonly report?: ((event: TaskEvent) => void) | undefined;
  /** Told what could not be done; it is tried again by itself. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}
