import { cautiousSeconds, type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyManager } from "../plugin/key-manager.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityKind as KindName, AuthorityRecord } from "../store/records.ts";
import type { AuthorityStore } from "../store/store.ts";
import type { AuthorityEvent, BundleEdits } from "./authority.ts";
import type { Retirement } from "./journal-survey.ts";
import { upstreamIdOf } from "./upstream/trust-plan.ts";

/** What authorities are written down with. */
export interface AuthorityJournalDependencies {
  readonly authorities: AuthorityStore;
  readonly keyManager: KeyManager;
  readonly clock: Clock;
  readonly serverId: string;
  /** Takes the own bundle as it stands after a commit. */
  readonly adopt: (bundle: SpiffeBundle) => void;
  readonly report: (event: AuthorityEvent) => void;
}

/** Whose authorities a journal holds: those of one kind whose keys have one of three names. */
export interface JournaledLine extends BundleEdits {
  readonly kind: KindName;
  readonly slots: readonly [string, string, string];
}

/** Changes that are written by one transaction. */
export interface JournalChange {
  readonly put: readonly AuthorityRecord[];
  /** Authorities that become old. */
  readonly retire: readonly Retirement[];
  /** Authorities that must be in the bundle. */
  readonly publish: readonly AuthorityRecord[];
}

/**
 * What is written down of one line of authorities of this server, and what of it is in the bundle. Steps run one at a
 * time, each in the store before it counts here.
 */
export class AuthorityJournal {
  readonly #line: JournaledLine;
  readonly #with: AuthorityJournalDependencies;
  readonly #records: Map<string, AuthorityRecord>;
  #listed: readonly AuthorityRecord[] | undefined;
  /** The time for forgetting: SVIDs of what was forgotten while the clock was ahead would never be believed again. */
  readonly #past: () => number;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(
    line: JournaledLine,
    dependencies: AuthorityJournalDependencies,
    records: readonly AuthorityRecord[],
  ) {
    this.#line = line;
    this.#with = dependencies;
    this.#past = cautiousSeconds(dependencies.clock, MOST_FORGOTTEN_SECONDS);
    this.#records = new Map(records.map((record) => [record.id, record]));
  }

  /** Reads what is written down. @throws AssayError `STORE_UNAVAILABLE`. */
  static async open(
    line: JournaledLine,
    dependencies: AuthorityJournalDependencies,
  ): Promise<AuthorityJournal> {
    const records = (await dependencies.authorities.list()).filter(
      ({ kind, keyId, serverId }) =>
        kind === line.kind && line.slots.includes(keyId) && serverId === dependencies.serverId,
    );
    return new AuthorityJournal(line, dependencies, records);
  }

  /** Every authority of the line, in no order. The same list as long as none of them changes. */
  get records(): readonly AuthorityRecord[] {
    this.#listed ??= [...this.#records.values()];
    return this.#listed;
  }

  /** Whether an authority of the line has this id. */
  has(id: string): boolean {
    return this.#records.has(id);
  }

  /** Runs a step when those before it have ended. */
  inOrder<Result>(step: () => Promise<Result>): Promise<Result> {
    const next = this.#last.then(step);
    this.#last = next.catch(() => undefined);
    return next;
  }

  /** Writes a change. A step of its own only inside `inOrder`. @throws AssayError `STORE_UNAVAILABLE`. */
  async commit({ put, retire, publish }: JournalChange): Promise<void> {
    const old = retire.map(({ record }): AuthorityRecord => {
      return { ...record, state: "old", changedAt: unixSeconds(this.#with.clock) };
    });
    await this.#write([...put, ...old], (stored) =>
      publish.reduce((edited, record) => this.#line.publish(edited, record), stored),
    );
    for (const { record, reason } of retire) this.report("retired", record, { reason });
  }

  /**
   * Marks an old authority: what it signed is to be replaced, and is good until it is revoked.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that is not old, `STORE_UNAVAILABLE`.
   */
  taint(id: string): Promise<AuthorityRecord> {
    return this.inOrder(async () => {
      const tainted = this.#moved(id, "old", "tainted");
      await this.#write([tainted], (stored) => this.#line.taint(stored, tainted));
      this.report("tainted", tainted, { byOrder: true });
      return tainted;
    });
  }

  /**
   * Takes a tainted authority out of the bundle: what it signed is good no longer. Then its private key is destroyed; where
   * that fails the authority is revoked all the same, and revoking it again destroys the key.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one that is not tainted, `KEY_UNAVAILABLE`,
   * `STORE_UNAVAILABLE`.
   */
  revoke(id: string): Promise<AuthorityRecord> {
    return this.inOrder(async () => {
      const known = this.#records.get(id);
      if (known?.state === "revoked" && (await this.#destroyKey(known))) return known;
      const revoked = this.#moved(id, "tainted", "revoked");
      // The bundle first: a key manager in trouble must not keep a stolen authority trusted.
      await this.#write([revoked], (stored) => this.#line.unpublish(stored, revoked));
      this.report("revoked", revoked, { byOrder: true });
      await this.#destroyKey(revoked);
      return revoked;
    });
  }

  /** Takes authorities that ended a day ago out of the journal and the bundle. @throws AssayError `STORE_UNAVAILABLE`. */
  async forgetEnded(): Promise<void> {
    const before = this.#past() - FORGET_AFTER_SECONDS;
    await this.#forget(this.records.filter(({ notAfter }) => notAfter < before));
  }

  /** Makes every living authority old, as its line is no longer configured; what they signed stays good. */
  retireAll(): Promise<void> {
    return this.inOrder(async () => {
      const living = this.records.filter(({ state }) => state === "active" || state === "prepared");
      if (living.length === 0) return;
      const retire = living.map((record) => ({ record, reason: "switched-off" as const }));
      await this.commit({ put: [], retire, publish: [] });
    });
  }

  /** Forgets every authority at once and destroys the keys: what they signed is good no longer. */
  withdrawAll(): Promise<void> {
    return this.inOrder(async () => {
      const records = this.records;
      for (const record of records) await this.#destroyKey(record);
      await this.#forget(records);
      for (const record of records) this.report("retired", record, { reason: "switched-off" });
    });
  }

  /** Tells what happened to an authority. */
  report(
    event: AuthorityEvent["event"],
    record: AuthorityRecord,
    {
      byOrder = false,
      reason,
    }: { readonly byOrder?: boolean; readonly reason?: AuthorityEvent["reason"] } = {},
  ): void {
    this.#with.report({
      event,
      byOrder,
      kind: record.kind,
      authorityId: record.id,
      notAfter: record.notAfter,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  async #write(put: readonly AuthorityRecord[], edit: (bundle: SpiffeBundle) => SpiffeBundle): Promise<void> {
    const bundle = await this.#with.authorities.commit({ put }, edit);
    for (const record of put) this.#records.set(record.id, record);
    this.#listed = undefined;
    this.#with.adopt(bundle);
  }

  async #forget(records: readonly AuthorityRecord[]): Promise<void> {
    if (records.length === 0) return;
    const bundle = await this.#with.authorities.commit({ delete: records.map(({ id }) => id) }, (stored) =>
      records.reduce((edited, record) => this.#line.unpublish(edited, record), stored),
    );
    for (const { id } of records) this.#records.delete(id);
    this.#listed = undefined;
    this.#with.adopt(bundle);
  }

  #moved(id: string, from: "old" | "tainted", to: "tainted" | "revoked"): AuthorityRecord {
    const record = this.#records.get(id);
    if (record === undefined) {
      throw new AssayError("AUTHORITY_NOT_FOUND", `there is no ${this.#line.kind} authority ${id}`);
    }
    if (record.state !== from) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `${this.#line.kind} authority ${id} is ${record.state}, expected one that is ${from}`,
      );
    }
    const root = upstreamIdOf(record);
    if (root !== undefined) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `x509 authority ${id} was signed by the upstream authority ${root}, expected one that signed itself (taint and revoke the upstream authority)`,
      );
    }
    return { ...record, state: to, changedAt: unixSeconds(this.#with.clock) };
  }

  // Whether there was a key to destroy. By its public key, not by its name alone: a later authority may have the slot by now.
  async #destroyKey({ keyId, publicKey }: AuthorityRecord): Promise<boolean> {
    const key = await this.#with.keyManager.getKey(keyId);
    if (key === undefined || Buffer.compare(key.publicKey, publicKey) !== 0) return false;
    await this.#with.keyManager.deleteKey(keyId);
    return true;
  }
}

const FORGET_AFTER_SECONDS = 86_400;
/** For each look, of which there is one every ten seconds or more often. */
const MOST_FORGOTTEN_SECONDS = 60;
