import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyManager } from "../plugin/key-manager.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { AuthorityStore } from "../store/store.ts";
import type { Authority, AuthorityEvent, AuthorityKind } from "./authority.ts";
import { type Retirement, surveyJournal } from "./journal-survey.ts";

/** What a line of authorities works with. */
export interface AuthorityLineDependencies {
  readonly authorities: AuthorityStore;
  readonly keyManager: KeyManager;
  readonly clock: Clock;
  readonly serverId: string;
  /** Takes the own bundle as it stands after a commit. */
  readonly adopt: (bundle: SpiffeBundle) => void;
  readonly report: (event: AuthorityEvent) => void;
}

/**
 * The authorities of one kind that this server has had, has and will have next: prepared, then active, then old. Each
 * step is in the journal before it takes effect here, and a key is in the bundle from the moment it is prepared. Steps
 * run one at a time.
 */
export class AuthorityLine<A extends Authority> {
  readonly #kind: AuthorityKind<A>;
  readonly #with: AuthorityLineDependencies;
  readonly #records = new Map<string, AuthorityRecord>();
  #active: A | undefined;
  #prepared: A | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(kind: AuthorityKind<A>, dependencies: AuthorityLineDependencies) {
    this.#kind = kind;
    this.#with = dependencies;
  }

  /**
   * Reads the journal and goes on with the authorities whose private keys are still there; others become old. Makes
   * and activates a new one where none can go on.
   */
  static async open<A extends Authority>(
    kind: AuthorityKind<A>,
    dependencies: AuthorityLineDependencies,
  ): Promise<AuthorityLine<A>> {
    const line = new AuthorityLine(kind, dependencies);
    await line.#load();
    await line.keepUp();
    return line;
  }

  /** Every authority of this kind and server in the journal, in no order. */
  get records(): readonly AuthorityRecord[] {
    return [...this.#records.values()];
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
   * Makes the next authority and publishes it, in place of one prepared before.
   * @throws AssayError `KEY_UNAVAILABLE`, `STORE_UNAVAILABLE`, `CERTIFICATE_LINT_FAILED`.
   */
  prepare(): Promise<AuthorityRecord> {
    return this.#inOrder(() => this.#prepare());
  }

  /**
   * Lets the prepared authority sign; the active one becomes old. With an id only if the prepared one has it.
   * @throws AssayError `AUTHORITY_NOT_FOUND` where no such authority is prepared, `STORE_UNAVAILABLE`.
   */
  activate(id?: string): Promise<AuthorityRecord> {
    return this.#inOrder(() => this.#activate(id));
  }

  /**
   * Does what is due: prepares a successor in the second half of the active authority's life and lets it sign in the
   * last sixth, at the latest when the active one has expired; forgets authorities a day after their end.
   * @throws AssayError as `prepare`.
   */
  keepUp(): Promise<void> {
    return this.#inOrder(async () => {
      const now = unixSeconds(this.#with.clock);
      const active = this.#active?.record;
      const due = active === undefined ? "now" : dueStep(active, this.#prepared?.record, now);
      if (due !== "nothing" && !this.#isPrepared(now)) await this.#prepare();
      if (due === "now") await this.#activate();
      await this.#forget(now - FORGET_AFTER_SECONDS);
    });
  }

  async #load(): Promise<void> {
    const { authorities, keyManager, serverId, clock, report } = this.#with;
    const keys = new Map((await keyManager.listKeys()).map((key) => [key.id, key]));
    const own = (await authorities.list()).filter(
      (record) => record.kind === this.#kind.kind && record.serverId === serverId,
    );
    const survey = surveyJournal(own, keys, unixSeconds(clock));
    for (const record of own) this.#records.set(record.id, record);
    for (const [state, found] of [
      ["active", survey.active],
      ["prepared", survey.prepared],
    ] as const) {
      if (found === undefined) continue;
      const authority = this.#kind.revive(found.record, found.key);
      if (state === "active") this.#active = authority;
      else this.#prepared = authority;
      report(eventOf("continued", found.record));
    }
    const going = [survey.active, survey.prepared].flatMap((found) =>
      found === undefined ? [] : [found.record],
    );
    if (going.length > 0 || survey.retired.length > 0) await this.#commit([], survey.retired, going);
  }

  #isPrepared(now: number): boolean {
    return this.#prepared !== undefined && this.#prepared.record.notAfter > now;
  }

  /** Takes authorities that ended before a time out of the journal and the bundle. */
  async #forget(endedBefore: number): Promise<void> {
    const { authorities, adopt } = this.#with;
    const ended = this.records.filter(({ notAfter }) => notAfter < endedBefore);
    if (ended.length === 0) return;
    const bundle = await authorities.commit({ delete: ended.map(({ id }) => id) }, (stored) =>
      ended.reduce((edited, record) => this.#kind.unpublish(edited, record), stored),
    );
    for (const { id } of ended) this.#records.delete(id);
    adopt(bundle);
  }

  async #prepare(): Promise<AuthorityRecord> {
    const { keyManager, clock } = this.#with;
    const [a, b] = this.#kind.slots;
    const taken = new Set([this.#active?.record.keyId, this.#prepared?.record.keyId]);
    const slot = [a, b].find((name) => !taken.has(name)) ?? (this.#active?.record.keyId === a ? b : a);
    // Its key is about to be replaced: should anything fail from here on, it must not be activated.
    if (this.#prepared?.record.keyId === slot) this.#prepared = undefined;
    const key = await keyManager.generateKey(slot, this.#kind.keyType);
    const authority = await this.#kind.found(key, unixSeconds(clock));
    const superseded = this.records
      .filter((record) => record.state === "prepared")
      .map((record) => ({ record, reason: "superseded" as const }));
    await this.#commit([authority.record], superseded, [authority.record]);
    this.#prepared = authority;
    this.#with.report(eventOf("prepared", authority.record));
    return authority.record;
  }

  async #activate(id?: string): Promise<AuthorityRecord> {
    const prepared = this.#prepared;
    if (prepared === undefined || (id !== undefined && prepared.record.id !== id)) {
      throw new AssayError(
        "AUTHORITY_NOT_FOUND",
        `no ${this.#kind.kind} authority${id ? ` ${id}` : ""} is prepared`,
      );
    }
    const now = unixSeconds(this.#with.clock);
    const record: AuthorityRecord = { ...prepared.record, state: "active", changedAt: now };
    const before = this.records.filter((one) => one.state === "active");
    const retired = before.map((one) => ({
      record: one,
      reason: one.notAfter <= now ? ("expired" as const) : ("superseded" as const),
    }));
    await this.#commit([record], retired, [record]);
    this.#active = this.#kind.revive(record, prepared.key);
    this.#prepared = undefined;
    this.#with.report(eventOf("activated", record));
    return record;
  }

  /** Journals records, makes others old and publishes those that must be in the bundle, all in one transaction. */
  async #commit(
    put: readonly AuthorityRecord[],
    retire: readonly Retirement[],
    publish: readonly AuthorityRecord[],
  ): Promise<void> {
    const { authorities, clock, adopt, report } = this.#with;
    const old = retire.map(({ record }): AuthorityRecord => {
      return { ...record, state: "old", changedAt: unixSeconds(clock) };
    });
    const changed = [...put, ...old];
    const bundle = await authorities.commit({ put: changed }, (stored) =>
      publish.reduce((edited, record) => this.#kind.publish(edited, record), stored),
    );
    for (const record of changed) this.#records.set(record.id, record);
    adopt(bundle);
    for (const { record, reason } of retire) report({ ...eventOf("retired", record), reason });
  }

  #inOrder<Result>(task: () => Promise<Result>): Promise<Result> {
    const next = this.#last.then(task);
    this.#last = next.catch(() => undefined);
    return next;
  }
}

/** What the schedule asks for: nothing, a successor, or the change to it. */
function dueStep(
  active: AuthorityRecord,
  prepared: AuthorityRecord | undefined,
  now: number,
): "nothing" | "prepare" | "now" {
  const lifetime = active.notAfter - active.notBefore;
  const left = active.notAfter - now;
  if (left <= 0) return "now";
  if (left >= Math.min(lifetime / 2, MAX_PREPARE_SECONDS)) return "nothing";
  if (left >= Math.min(lifetime / 6, MAX_ACTIVATE_SECONDS) || prepared === undefined) return "prepare";
  // A successor that a late start has only just published is not used before agents had time to learn of it.
  const lead = Math.min(lifetime / 24, MAX_LEAD_SECONDS);
  return now - prepared.changedAt >= lead ? "now" : "prepare";
}

function eventOf(event: AuthorityEvent["event"], record: AuthorityRecord): AuthorityEvent {
  return { event, kind: record.kind, authorityId: record.id, notAfter: record.notAfter };
}

const DAY = 86_400;
const MAX_PREPARE_SECONDS = 30 * DAY;
const MAX_ACTIVATE_SECONDS = 7 * DAY;
const MAX_LEAD_SECONDS = 600;
const FORGET_AFTER_SECONDS = DAY;
