import { sql, type Transaction } from "kysely";
import type { Schema } from "./schema.ts";
import type { NoteChange, Work } from "./work.ts";

/** Runs one transaction and resolves when it is durable. */
export type RunTransaction = <T>(work: Work<T>) => Promise<T>;

/**
 * Small writes of many callers, several to a transaction, so that they share its way to the disk. Each is whole or not at all
 * by itself: one that rejects takes only its own changes back. What cannot be committed rejects for all of its group.
 */
export class WriteGroups {
  readonly #run: RunTransaction;
  readonly #waiting: Waiting[] = [];
  #running = false;

  constructor(run: RunTransaction) {
    this.#run = run;
  }

  /** Does the work in the next transaction of the group; at once if none is under way. */
  write<T>(work: Work<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        reject,
        async start(tx, note) {
          const value = await work(tx, note);
          return () => resolve(value);
        },
      });
      if (!this.#running) void this.#runAll();
    });
  }

  async #runAll(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      await this.#runGroup(this.#waiting.splice(0, GROUP));
      // A database in this process answers without ever giving the event loop a turn: others get one here.
      if (this.#waiting.length > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#running = false;
  }

  async #runGroup(group: readonly Waiting[]): Promise<void> {
    try {
      const settle = await this.#run(async (tx, note) => {
        const outcomes: (() => void)[] = [];
        for (const waiting of group) {
          outcomes.push(group.length === 1 ? await waiting.start(tx, note) : await apart(tx, note, waiting));
        }
        return outcomes;
      });
      for (const outcome of settle) outcome();
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}

interface Waiting {
  readonly reject: (error: unknown) => void;
  /** Does the work; gives what is to be called once it is durable. */
  start(tx: Transaction<Schema>, note: NoteChange): Promise<() => void>;
}

/** Does one work of a group so that its failure is its own. */
async function apart(tx: Transaction<Schema>, note: NoteChange, waiting: Waiting): Promise<() => void> {
  const changes: Parameters<NoteChange>[] = [];
  await BEGIN.execute(tx);
  try {
    const outcome = await waiting.start(tx, (...change) => void changes.push(change));
    await RELEASE.execute(tx);
    for (const change of changes) note(...change);
    return outcome;
  } catch (error) {
    try {
      await TAKE_BACK.execute(tx);
      await RELEASE.execute(tx);
    } catch {
      // A full disk has ended the whole transaction already; then it failed for all, and for this reason.
      throw error;
    }
    return () => waiting.reject(error);
  }
}

const BEGIN = sql`savepoint one_of_group`;
const RELEASE = sql`release savepoint one_of_group`;
const TAKE_BACK = sql`rollback to savepoint one_of_group`;
// So few that a group blocks the process for some milliseconds at most, so many that the disk is not what limits them.
const GROUP = 32;
