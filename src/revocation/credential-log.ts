import { type Clock, unixSeconds } from "../clock.ts";
import type { ChangeLog } from "../store/store.ts";
import type { CredentialKind, CredentialRecord, CredentialStore } from "../store/task-store.ts";
import { X509_KEPT } from "./revoked-table.ts";

/** What follows the store: told of credentials that are revoked, some of them more than once. */
export type CredentialFollower = (records: readonly CredentialRecord[]) => void;

/** Reads what the store's change log says of credentials, in order, one reading at a time. */
export class CredentialLog {
  readonly #store: { readonly credentials: CredentialStore; readonly changes: ChangeLog };
  readonly #clock: Clock;
  readonly #follower: CredentialFollower;
  #sequence: number | undefined;
  #running: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(
    store: { readonly credentials: CredentialStore; readonly changes: ChangeLog },
    clock: Clock,
    follower: CredentialFollower,
  ) {
    this.#store = store;
    this.#clock = clock;
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
    const { credentials, changes } = this.#store;
    for (;;) {
      const rows = this.#sequence === undefined ? undefined : await changes.since(this.#sequence, ROWS);
      if (rows === undefined) {
        // Read before the table: what changes while it is read is in the log after this place.
        const sequence = await changes.latest();
        this.#follower(await credentials.revoked(unixSeconds(this.#clock) - X509_KEPT));
        this.#sequence = sequence;
        continue;
      }
      const last = rows.at(-1);
      if (last === undefined) return;
      const names = new Set(rows.filter(({ kind }) => kind === "credential").map(({ key }) => key));
      const records: CredentialRecord[] = [];
      for (const name of names) {
        const at = name.indexOf(":");
        const record = await credentials.get(name.slice(0, at) as CredentialKind, name.slice(at + 1));
        if (record !== undefined) records.push(record);
      }
      if (records.length > 0) this.#follower(records);
      this.#sequence = last.sequence;
    }
  }
}

const ROWS = 1000;
