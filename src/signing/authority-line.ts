import { unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { Authority, AuthorityKind } from "./authority.ts";
import { AuthorityJournal, type AuthorityJournalDependencies } from "./authority-journal.ts";
import { surveyJournal } from "./journal-survey.ts";
import { dueStep, willDo } from "./rotation-schedule.ts";

/**
 * The authorities of one line that this server has had, has and will have next: prepared, then active, then old. Each
 * step is in the journal before it takes effect here, and a key is in the bundle from the moment it is prepared.
 */
export class AuthorityLine<A extends Authority> {
  readonly #kind: AuthorityKind<A>;
  readonly #with: AuthorityJournalDependencies;
  readonly #journal: AuthorityJournal;
  #active: A | undefined;
  #prepared: A | undefined;

  private constructor(
    kind: AuthorityKind<A>,
    dependencies: AuthorityJournalDependencies,
    journal: AuthorityJournal,
  ) {
    this.#kind = kind;
    this.#with = dependencies;
    this.#journal = journal;
  }

  /**
   * Reads the journal and goes on with the authorities whose private keys are still there; others become old. Makes
   * and activates a new one where none can go on.
   */
  static async open<A extends Authority>(
    kind: AuthorityKind<A>,
    dependencies: AuthorityJournalDependencies,
  ): Promise<AuthorityLine<A>> {
    const line = new AuthorityLine(kind, dependencies, await AuthorityJournal.open(kind, dependencies));
    await line.#continue();
    await line.keepUp();
    return line;
  }

  /** What is written down of the line. */
  get journal(): AuthorityJournal {
    return this.#journal;
  }

  /**
   * The authority that signs now.
   * @throws AssayError `AUTHORITY_EXPIRED` where there is none that has not expired.
   */
  active(): A {
    const active = this.#active;
    if (active !== undefined && active.record.notAfter > unixSeconds(this.#with.clock)) return active;
    throw new AssayError(
      "AUTHORITY_EXPIRED",
      `the ${this.#kind.kind} authority has expired and has no successor yet`,
    );
  }

  /**
   * An authority of any state but revoked whose private key is still held, the old ones' until their slot is needed.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `KEY_UNAVAILABLE`.
   */
  async held(id: string): Promise<A> {
    const record = this.#journal.records.find((one) => one.id === id && one.state !== "revoked");
    const key = record && (await this.#with.keyManager.getKey(record.keyId));
    // By its public key, not by its name alone: a later authority may have the slot by now.
    if (!record || !key || Buffer.compare(key.publicKey, record.publicKey) !== 0) {
      throw new AssayError(
        "AUTHORITY_NOT_FOUND",
        `this server holds no key of a ${this.#kind.kind} authority ${id}`,
      );
    }
    return this.#kind.revive(record, key);
  }

  /**
   * The authorities that an operator moves: the one that signs, the one that will, and the newest that did and has
   * not been revoked.
   */
  states(): Readonly<Partial<Record<"active" | "prepared" | "old", AuthorityRecord>>> {
    const newest = (...states: readonly AuthorityRecord["state"][]) =>
      this.#journal.records
        .filter(({ state }) => states.includes(state))
        .reduce<AuthorityRecord | undefined>(
          (best, one) => (best === undefined || one.changedAt >= best.changedAt ? one : best),
          undefined,
        );
    const [active, prepared, old] = [newest("active"), newest("prepared"), newest("old", "tainted")];
    return { ...(active && { active }), ...(prepared && { prepared }), ...(old && { old }) };
  }

  /**
   * Makes the next authority and publishes it, in place of one prepared before, as an operator asks.
   * @throws AssayError `KEY_UNAVAILABLE`, `STORE_UNAVAILABLE`, `CERTIFICATE_LINT_FAILED`.
   */
  prepare(): Promise<AuthorityRecord> {
    return this.#journal.inOrder(() => this.#prepare(true));
  }

  /**
   * Lets the prepared authority sign, as an operator asks; the active one becomes old. With an id only if the prepared
   * one has it.
   * @throws AssayError `AUTHORITY_NOT_FOUND` where no such authority is prepared, `STORE_UNAVAILABLE`.
   */
  activate(id?: string): Promise<AuthorityRecord> {
    return this.#journal.inOrder(() => this.#activate(true, id));
  }

  /** As `activate`, and nothing where none is prepared. */
  activateIfPrepared(): Promise<unknown> {
    return this.#journal.inOrder(async () => {
      if (this.#prepared !== undefined) await this.#activate(true);
    });
  }

  /**
   * Does what is due: prepares a successor in the second half of the active authority's life and lets it sign in the
   * last sixth, at the latest when the active one is about to expire; forgets authorities a day after their end.
   * @throws AssayError as `prepare`.
   */
  keepUp(): Promise<void> {
    return this.#journal.inOrder(async () => {
      const now = unixSeconds(this.#with.clock);
      const active = this.#active?.record;
      const due = active === undefined ? "activate" : dueStep(active, this.#prepared?.record, now);
      const prepared = this.#prepared?.record;
      const isReady = prepared !== undefined && willDo(prepared, due, now);
      if (due !== "nothing" && !isReady) await this.#prepare(false);
      if (due === "activate") await this.#activate(false);
      await this.#journal.forgetEnded();
    });
  }

  async #continue(): Promise<void> {
    const keys = new Map((await this.#with.keyManager.listKeys()).map((key) => [key.id, key]));
    const survey = surveyJournal(this.#journal.records, keys, unixSeconds(this.#with.clock));
    for (const [state, found] of [
      ["active", survey.active],
      ["prepared", survey.prepared],
    ] as const) {
      if (found === undefined) continue;
      const authority = this.#kind.revive(found.record, found.key);
      if (state === "active") this.#active = authority;
      else this.#prepared = authority;
      this.#journal.report("continued", found.record);
    }
    const publish = [survey.active, survey.prepared].flatMap((found) =>
      found === undefined ? [] : [found.record],
    );
    if (publish.length > 0 || survey.retired.length > 0) {
      await this.#journal.commit({ put: [], retire: survey.retired, publish });
    }
  }

  async #prepare(byOrder: boolean): Promise<AuthorityRecord> {
    const { keyManager, clock } = this.#with;
    const [a, b] = this.#kind.slots;
    const taken = new Set([this.#active?.record.keyId, this.#prepared?.record.keyId]);
    const slot = [a, b].find((name) => !taken.has(name)) ?? (this.#active?.record.keyId === a ? b : a);
    // Its key is about to be replaced: should anything fail from here on, it must not be activated.
    if (this.#prepared?.record.keyId === slot) this.#prepared = undefined;
    const key = await keyManager.generateKey(slot, this.#kind.keyType);
    const authority = await this.#kind.found(key, unixSeconds(clock));
    const superseded = this.#journal.records
      .filter((record) => record.state === "prepared")
      .map((record) => ({ record, reason: "superseded" as const }));
    await this.#journal.commit({ put: [authority.record], retire: superseded, publish: [authority.record] });
    this.#prepared = authority;
    this.#journal.report("prepared", authority.record, { byOrder });
    return authority.record;
  }

  async #activate(byOrder: boolean, id?: string): Promise<AuthorityRecord> {
    const prepared = this.#prepared;
    if (prepared === undefined || (id !== undefined && prepared.record.id !== id)) {
      throw new AssayError(
        "AUTHORITY_NOT_FOUND",
        `no ${this.#kind.kind} authority${id ? ` ${id}` : ""} is prepared`,
      );
    }
    const now = unixSeconds(this.#with.clock);
    const record: AuthorityRecord = { ...prepared.record, state: "active", changedAt: now };
    const retire = this.#journal.records
      .filter(({ state }) => state === "active")
      .map((one) => ({
        record: one,
        reason: one.notAfter <= now ? ("expired" as const) : ("superseded" as const),
      }));
    await this.#journal.commit({ put: [record], retire, publish: [record] });
    this.#active = this.#kind.revive(record, prepared.key);
    this.#prepared = undefined;
    this.#journal.report("activated", record, { byOrder });
    return record;
  }
}
