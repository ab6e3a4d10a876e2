import { sql, type Kysely } from "kysely";
import type { Clock } from "../../clock.ts";
import { readRestored } from "../sql/backup.ts";
import { latestChange } from "../sql/changes.ts";
import { readMeta, writeMeta } from "../sql/meta.ts";
import type { Schema } from "../sql/schema.ts";
import type { SqlSession } from "../sql/session.ts";
import { type HighWater, readHighWater, refuseOutdated, writeHighWater } from "./high-water.ts";

/**
 * Keeps the high-water mark beside a store: raised when the store is opened and closed, and every few seconds while it is
 * written to. The number is in the store before it is in the file, so that a store is behind its file only where it is not
 * the one that was here.
 */
export class HighWaterKeeper implements AsyncDisposable {
  readonly #path: string;
  readonly #session: SqlSession;
  readonly #clock: Clock;
  #written = -1;
  #wait: Disposable | undefined;
  #running: Promise<void> = Promise.resolve();
  readonly #onFault: (error: unknown) => void;
  #isFailing = false;
  #closed = false;

  private constructor(path: string, session: SqlSession, clock: Clock, onFault: (error: unknown) => void) {
    this.#path = path;
    this.#session = session;
    this.#clock = clock;
    this.#onFault = onFault;
  }

  /**
   * @param onFault Told when the mark cannot be written, once until it can be again.
   * @throws AssayError `STORE_OUTDATED`, `STORE_UNAVAILABLE`.
   */
  static async open(
    path: string,
    session: SqlSession,
    clock: Clock,
    onFault: (error: unknown) => void,
  ): Promise<HighWaterKeeper> {
    refuseOutdated(path, await session.read(storeMark), readHighWater(path));
    const keeper = new HighWaterKeeper(path, session, clock, onFault);
    await keeper.#raise();
    keeper.#again();
    return keeper;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#wait?.[Symbol.dispose]();
    await this.#running;
    await this.#keepUp();
  }

  #again(): void {
    this.#wait = this.#clock.schedule(INTERVAL_MS, () => {
      this.#running = this.#keepUp().then(() => {
        if (!this.#closed) this.#again();
      });
    });
  }

  // The next look may find room.
  async #keepUp(): Promise<void> {
    try {
      if ((await this.#session.read(writtenRows)) !== this.#written) await this.#raise();
      this.#isFailing = false;
    } catch (error) {
      this.#written = -1;
      if (!this.#isFailing) this.#onFault(error);
      this.#isFailing = true;
    }
  }

  async #raise(): Promise<void> {
    const { written, ...reached } = await this.#session.write(async (tx): Promise<HighWater & Written> => {
      const mark = (await storeMark(tx)) + 1;
      await writeMeta(tx, STORE_MARK, String(mark));
      const query = tx.selectFrom("bundles").select("sequence");
      const own = await query.where("trust_domain", "=", this.#session.trustDomain).executeTakeFirst();
      const [changes, rows] = [await latestChange(tx), await writtenRows(tx)];
      const restoredAt = (await readRestored(tx))?.at ?? 0;
      return { mark, bundleSequence: BigInt(own?.sequence ?? 0), changes, restoredAt, written: rows };
    });
    await writeHighWater(this.#path, reached);
    this.#written = written;
  }
}

interface Written {
  readonly written: number;
}

/** How often the mark of this store was raised. */
async function storeMark(db: Kysely<Schema>): Promise<number> {
  return Number((await readMeta(db, STORE_MARK)) ?? 0);
}

/** How many rows this connection has written, changed or deleted. */
async function writtenRows(db: Kysely<Schema>): Promise<number> {
  const { rows } = await sql<{ readonly n: number }>`select total_changes() as n`.execute(db);
  return rows[0]?.n ?? 0;
}

/** The name of the mark among the facts about a store. */
export const STORE_MARK = "high_water";
// What is written in between cannot be told from a copy that lacks it, so the interval is short.
const INTERVAL_MS = 5_000;
