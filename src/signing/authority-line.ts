import { unixSeconds } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { ManagedKey } from "../plugin/key-manager.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { Authority, AuthorityKind, RetirementReason } from "./authority.ts";
import { AuthorityJournal, type AuthorityJournalDependencies } from "./authority-journal.ts";
import { surveyJournal } from "./journal-survey.ts";
import { isUpstreamFault } from "./upstream/upstream-fault.ts";
import { dueStep, isAhead, isStale, retryAfter, type RotationStep, willDo } from "./rotation-schedule.ts";

/** What a line of authorities stands on. */
export interface AuthorityLineDependencies extends AuthorityJournalDependencies {
  /** Seconds that others were told to wait at most between two looks at the bundle. */
  readonly refreshHint: () => number;
}

/**
 * The authorities of one line that this server has had, has and will have next: prepared, then active, then old. Each
 * step is in the journal before it takes effect here, and a key is in the bundle from the moment it is prepared.
 */
export class AuthorityLine<A extends Authority> {
  readonly #kind: AuthorityKind<A>;
  readonly #with: AuthorityLineDependencies;
  readonly #journal: AuthorityJournal;
  #active: A | undefined;
  #prepared: A | undefined;
  /** A key that waits for its authority to be signed elsewhere. */
  #spare: ManagedKey | undefined;
  #failures = 0;
  /** When it failed last, and when it is tried again; Unix seconds. */
  #failedAt = 0;
  #retryAt = 0;
  #keysSeenAt: number;

  private constructor(
    kind: AuthorityKind<A>,
    dependencies: AuthorityLineDependencies,
    journal: AuthorityJournal,
  ) {
    this.#kind = kind;
    this.#with = dependencies;
    this.#journal = journal;
    this.#keysSeenAt = unixSeconds(dependencies.clock);
  }

  /**
   * Reads the journal and goes on with the authorities whose private keys are still there; others become old. Makes
   * and activates a new one where none can go on.
   */
  static async open<A extends Authority>(
    kind: AuthorityKind<A>,
    dependencies: AuthorityLineDependencies,
  ): Promise<AuthorityLine<A>> {
    const line = new AuthorityLine(kind, dependencies, await AuthorityJournal.open(kind, dependencies));
    await line.#continue();
    try {
      await line.keepUp();
    } catch (error) {
      // With an authority that can go on, a server starts though nobody signs its next one now: it will be asked again.
      if (!isUpstreamFault(error) || line.#active === undefined) throw error;
    }
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
   * last sixth, at the latest when the active one is about to expire; forgets authorities a day after their end. An authority
   * whose key is gone, or that must not go on, has its successor at once. What failed is tried again after a while that grows.
   * @throws AssayError as `prepare`.
   */
  keepUp(): Promise<void> {
    return this.#journal.inOrder(async () => {
      const unseen = await this.#missKeys();
      try {
        await this.#step();
      } finally {
        await this.#journal.forgetEnded();
      }
      if (unseen !== undefined) throw unseen;
    });
  }

  async #step(): Promise<void> {
    const now = unixSeconds(this.#with.clock);
    const due = this.#due(now);
    const prepared = this.#prepared?.record;
    const active = this.#active?.record;
    const isReady =
      prepared !== undefined &&
      this.#mayGoOn(prepared) &&
      willDo(prepared, due, now) &&
      !(due === "prepare" && active !== undefined && isStale(prepared, active, now));
    if (due !== "nothing" && !isReady) {
      // A clock that was set back must not make the pause longer.
      if (now >= this.#failedAt && now < this.#retryAt) return;
      try {
        await this.#prepare(false);
        this.#failures = 0;
      } catch (error) {
        const left = active === undefined || isAhead(active, now) ? 0 : active.notAfter - now;
        this.#failedAt = unixSeconds(this.#with.clock);
        this.#retryAt = this.#failedAt + retryAfter(++this.#failures, left);
        if (this.#isLastResort(this.#failedAt)) await this.#activate(false);
        throw error;
      }
    }
    // A successor that was made just now may be known for long enough already, by the root that it chains to.
    if (this.#due(unixSeconds(this.#with.clock)) === "activate") await this.#activate(false);
  }

  #due(now: number): RotationStep {
    const [active, prepared] = [this.#active?.record, this.#prepared?.record];
    if (active === undefined) return "activate";
    const onSchedule = dueStep(active, prepared, now, this.#with.refreshHint());
    const lead = this.#kind.replaceAfter?.(active);
    if (lead === undefined || onSchedule === "activate") return onSchedule;
    if (lead === 0) return "activate";
    const since = prepared && (this.#kind.knownSince?.(prepared) ?? prepared.changedAt);
    return since !== undefined && this.#mayGoOn(prepared) && now - since >= lead ? "activate" : "prepare";
  }

  /** Whether the prepared one is to sign although it must not go on: the active one is worth nothing from now on, and no other can be had. */
  #isLastResort(now: number): boolean {
    const [active, prepared] = [this.#active?.record, this.#prepared?.record];
    if (prepared === undefined || prepared.notAfter <= now || isAhead(prepared, now)) return false;
    if (this.#kind.replaceAfter?.(prepared) === 0) return false;
    if (active === undefined || this.#kind.replaceAfter?.(active) === 0) return true;
    return dueStep(active, undefined, now, 0) === "activate";
  }

  #mayGoOn(record: AuthorityRecord | undefined): boolean {
    return record !== undefined && this.#kind.replaceAfter?.(record) === undefined;
  }

  /**
   * Retires authorities whose keys the key manager says it does not have (any longer). One that does not answer has said
   * nothing: the authorities stay, and why is given back.
   */
  async #missKeys(): Promise<AssayError | undefined> {
    const now = unixSeconds(this.#with.clock);
    if (now - this.#keysSeenAt < KEYS_EVERY_SECONDS && now >= this.#keysSeenAt) return undefined;
    this.#keysSeenAt = now;
    try {
      if (this.#active !== undefined && (await this.#isKeyGone(this.#active))) {
        await this.#retire(this.#active.record);
        this.#active = undefined;
      }
      if (this.#prepared !== undefined && (await this.#isKeyGone(this.#prepared))) {
        await this.#retire(this.#prepared.record);
        this.#prepared = undefined;
      }
      return undefined;
    } catch (error) {
      return toAssayError(error);
    }
  }

  async #isKeyGone({ record }: A): Promise<boolean> {
    const key = await this.#with.keyManager.getKey(record.keyId);
    return key === undefined || Buffer.compare(key.publicKey, record.publicKey) !== 0;
  }

  async #retire(record: AuthorityRecord): Promise<void> {
    await this.#journal.commit({ put: [], retire: [{ record, reason: "key-missing" }], publish: [] });
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
    const [a, b, c] = this.#kind.slots;
    const taken = new Set([this.#active?.record.keyId, this.#prepared?.record.keyId]);
    // One prepared before stays as good as it is until the next one is written down: whoever makes that one may fail for days.
    const slot = [a, b].find((name) => !taken.has(name)) ?? c;
    // Who signs elsewhere may fail for days; each attempt with a key of its own would leave as many in a service that bills them.
    const spare = this.#spare?.id === slot ? this.#spare : undefined;
    this.#spare = undefined;
    const key = spare ?? (await keyManager.generateKey(slot, this.#kind.keyType));
    let authority: A;
    try {
      authority = await this.#kind.found(key, unixSeconds(clock));
    } catch (error) {
      if (isUpstreamFault(error)) this.#spare = key;
      throw error;
    }
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
      .map((one) => ({ record: one, reason: reasonOf(one, now) }));
    await this.#journal.commit({ put: [record], retire, publish: [record] });
    this.#active = this.#kind.revive(record, prepared.key);
    this.#prepared = undefined;
    this.#journal.report("activated", record, { byOrder });
    return record;
  }
}

/** Why an authority makes room for its successor. */
function reasonOf(record: AuthorityRecord, now: number): RetirementReason {
  if (record.notAfter <= now) return "expired";
  return isAhead(record, now) ? "not-yet-valid" : "superseded";
}

const KEYS_EVERY_SECONDS = 30;
