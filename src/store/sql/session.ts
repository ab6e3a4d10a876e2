import type { Kysely } from "kysely";
import { AssayError } from "../../errors/assay-error.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { ChangeRecord } from "../records.ts";
import { chunksOf } from "./chunks.ts";
import type { Schema } from "./schema.ts";
import type { Work } from "./work.ts";
import { WriteGroups } from "./write-groups.ts";

/** A change on its way into the log. */
export type Change = Omit<ChangeRecord, "sequence">;

/**
 * One open database: runs reads and transactions, writes the change log at the end of each transaction, and tells
 * listeners after the commit. Disposing waits for what is under way.
 */
export class SqlSession implements AsyncDisposable {
  readonly #db: Kysely<Schema>;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #listeners = new Set<() => void>();
  readonly #groups = new WriteGroups((work) => this.#transaction(work));
  #closing: Promise<void> | undefined;
  #notice = false;
  /** The trust domain whose store this is. */
  readonly trustDomain: TrustDomain;

  constructor(db: Kysely<Schema>, trustDomain: TrustDomain) {
    this.#db = db;
    this.trustDomain = trustDomain;
  }

  /** Runs queries outside of a transaction. */
  read<T>(work: (db: Kysely<Schema>) => Promise<T>): Promise<T> {
    return this.#track(() => work(this.#db));
  }

  /**
   * Runs `work` in one transaction together with the rows of the change log that it noted, and resolves when all of
   * it is durable. If `work` rejects, nothing is left. Transactions are as if one came after the other: what one has read,
   * no other changes before it ends.
   */
  write<T>(work: Work<T>): Promise<T> {
    return this.#track(() => this.#transaction(work));
  }

  /** As `write`, in one transaction with whatever else is written so at the time: for small writes of many callers. */
  writeTogether<T>(work: Work<T>): Promise<T> {
    return this.#track(() => this.#groups.write(work));
  }

  /** Calls every listener soon, once for any number of announcements made until then. */
  announce(): void {
    if (this.#notice) return;
    this.#notice = true;
    setImmediate(() => {
      this.#notice = false;
      for (const listener of this.#listeners) listener();
    });
  }

  /** Calls `listener` after changes until disposed. */
  subscribe(listener: () => void): Disposable {
    // Wrapped, so that one function subscribed twice is two subscriptions.
    const own = () => listener();
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #transaction<T>(work: Work<T>): Promise<T> {
    const changes: Change[] = [];
    const result = await this.#db.transaction().execute(async (tx) => {
      const value = await work(tx, (kind, key, operation) => void changes.push({ kind, key, operation }));
      for (const rows of chunksOf(changes, CHANGE_ROWS)) {
        await tx.insertInto("changes").values(rows).execute();
      }
      return value;
    });
    if (changes.length > 0) this.announce();
    return result;
  }

  async #close(): Promise<void> {
    this.#listeners.clear();
    await Promise.allSettled(this.#underWay);
    await this.#db.destroy();
  }

  async #track<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw new AssayError("STORE_UNAVAILABLE", "the store is closed");
    const running = work();
    this.#underWay.add(running);
    try {
      return await running;
    } finally {
      this.#underWay.delete(running);
    }
  }
}

const CHANGE_ROWS = 100;
