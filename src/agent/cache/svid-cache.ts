import type { Clock } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { BatchedRelease } from "./batched-release.ts";
import { replaceAt, retryDelay, type Spread } from "./rotation.ts";

/** An SVID with its key, as the cache needs to know it. */
export interface KeyedSvid {
  readonly spiffeId: SpiffeId;
}

/** What became of one SVID that was asked for. */
export type SigningOutcome<Svid> = { readonly svid: Svid } | { readonly error: AssayError };

/** A kind of SVID that workloads hold with a key of their own: how it is signed and what it depends on. */
export interface SvidKind<Svid extends KeyedSvid> {
  /** As logs call it. */
  readonly name: string;
  /** SVIDs asked for at once at most. */
  readonly maxBatch: number;
  /** Whether SVIDs of an entry are signed only while somebody wants them. */
  onDemand(entry: WorkloadEntry): boolean;
  /** When an SVID ends, Unix seconds. */
  endOf(svid: Svid): number;
  /** When it begins, Unix seconds; at once where it does not say so. */
  beginOf?(svid: Svid): number;
  /**
   * Makes keys and has SVIDs signed over them; outcomes in the order of the entries.
   * @throws AssayError where the server, or the way to it, failed.
   */
  sign(
    entries: readonly WorkloadEntry[],
    signal: AbortSignal,
  ): Promise<readonly (SigningOutcome<Svid> | undefined)[]>;
  /** Ids of the authorities that an SVID depends on. */
  authoritiesOf(svid: Svid): readonly string[];
  /** Ids of the authorities of a bundle, and whether each is tainted. */
  authoritiesIn(bundle: SpiffeBundle): ReadonlyMap<string, boolean>;
}

/** What a cache of SVIDs needs. */
export interface SvidCacheOptions<Svid extends KeyedSvid> {
  readonly kind: SvidKind<Svid>;
  /** The entry of this id as it stands now. */
  readonly entry: (id: string) => WorkloadEntry | undefined;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Told after SVIDs came or went. */
  readonly onChange: () => void;
  /** Told of each failed call to the server. */
  readonly onError: (error: AssayError) => void;
}

/** An SVID at hand, with the entry's revision it was signed for and when it is to be replaced (Unix ms). */
export interface HeldSvid<Svid> {
  readonly svid: Svid;
  readonly revision: number;
  readonly replaceAt: number;
}

/**
 * SVIDs of one kind by entry. Signs what is missing at once, replaces each at half of its life, and keeps a failing entry from
 * holding up the others: each has its own pause before a further attempt, and a server that cannot be reached pauses
 * all.
 */
export class SvidCache<Svid extends KeyedSvid> implements Disposable {
  readonly #options: SvidCacheOptions<Svid>;
  readonly #held = new Map<string, HeldSvid<Svid>>();
  readonly #queue = new Set<string>();
  readonly #inFlight = new Set<string>();
  readonly #failures = new Map<string, { count: number; retryAt: number; error: AssayError }>();
  readonly #wanted = new Map<string, number>();
  readonly #stopped = new AbortController();
  /** SVIDs of tainted authorities, which are good until theirs is revoked. */
  readonly #tainted: BatchedRelease;
  #batches = 0;
  #batchSize: number;
  #authorities: ReadonlyMap<string, boolean> = new Map();
  #outage: { count: number; until: number } | undefined;
  #isRevoked: (svid: Svid) => boolean = () => false;
  #timer: Disposable | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(options: SvidCacheOptions<Svid>) {
    this.#options = options;
    this.#batchSize = options.kind.maxBatch;
    this.#tainted = new BatchedRelease({
      clock: options.clock,
      spread: options.spread,
      batch: TAINTED_BATCH,
      interval: TAINTED_INTERVAL,
      release: (ids) => this.#replaceStillTainted(ids),
    });
  }

  /** The SVID of an entry, if there is one that has not ended and names what the entry names. */
  get(entryId: string): Svid | undefined {
    const held = this.#held.get(entryId);
    return held === undefined || this.#endOf(held.svid) <= this.#options.clock.now() ? undefined : held.svid;
  }

  /** Why the last attempt to sign for an entry failed, if it did. */
  failure(entryId: string): AssayError | undefined {
    return this.#failures.get(entryId)?.error;
  }

  /** How many SVIDs are at hand. */
  get size(): number {
    return this.#held.size;
  }

  /** When the first of those at hand ends, Unix milliseconds; infinite where there is none. */
  get firstEnd(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { svid } of this.#held.values()) first = Math.min(first, this.#endOf(svid));
    return first;
  }

  /** Whether SVIDs of an entry are signed only while somebody wants them. */
  isOnDemand(entry: WorkloadEntry): boolean {
    return this.#options.kind.onDemand(entry);
  }

  /** Keeps an SVID for an entry that is signed on demand only, until disposed. */
  want(entryId: string): Disposable {
    this.#wanted.set(entryId, (this.#wanted.get(entryId) ?? 0) + 1);
    this.#enqueueIfMissing(entryId);
    this.#pump();
    let done = false;
    return {
      [Symbol.dispose]: () => {
        if (done) return;
        done = true;
        const left = (this.#wanted.get(entryId) ?? 1) - 1;
        if (left > 0) this.#wanted.set(entryId, left);
        else this.#wanted.delete(entryId);
      },
    };
  }

  /** Follows the entries: signs for new and changed ones, drops the SVIDs of those that are gone at once. */
  follow(changed: readonly string[], removed: readonly string[]): void {
    for (const id of removed) this.#forget(id);
    for (const id of changed) {
      const held = this.#held.get(id);
      const entry = this.#options.entry(id);
      // An SVID with another name would be an identity that was taken away.
      if (held !== undefined && entry?.spiffeId !== held.svid.spiffeId) this.#held.delete(id);
      this.#failures.delete(id);
      this.#enqueueIfMissing(id);
    }
    this.#pump();
    if (removed.length > 0) this.#options.onChange();
  }

  /**
   * Signs anew what an authority signed that is tainted now, a hundred every five seconds, and at once what none of the
   * authorities signed that are left; the old SVIDs are served until then.
   */
  replaceTainted(bundle: SpiffeBundle): void {
    this.#authorities = this.#options.kind.authoritiesIn(bundle);
    this.#tainted.clear();
    for (const [id, { svid }] of this.#held) {
      const standing = this.#standing(svid);
      if (standing === "good") continue;
      if (this.#isIdle(id)) this.#held.delete(id);
      else this.#enqueueTainted(id, standing);
    }
    this.#pump();
  }

  /** Signs anew what is revoked, now and whenever one turns out to be; it is served until then, lest nothing is. */
  replaceRevoked(isRevoked: (svid: Svid) => boolean): void {
    this.#isRevoked = isRevoked;
    for (const [id, { svid }] of this.#held) if (isRevoked(svid)) this.#queue.add(id);
    this.#pump();
  }

  #standing(svid: Svid): Standing {
    const ids = this.#options.kind.authoritiesOf(svid);
    if (ids.some((id) => this.#authorities.get(id) === true)) return "tainted";
    // Its mark may have come and gone between two looks at the bundle.
    return this.#authorities.size === 0 || ids.some((id) => this.#authorities.has(id)) ? "good" : "gone";
  }

  /** Nobody believes in what an authority signed that is gone: that cannot wait for its turn. */
  #enqueueTainted(id: string, standing: Exclude<Standing, "good">): void {
    if (standing === "gone") this.#queue.add(id);
    else if (!this.#queue.has(id)) this.#tainted.add(id);
  }

  #replaceStillTainted(ids: readonly string[]): void {
    for (const id of ids) {
      const held = this.#held.get(id);
      // One under way is looked at when it has come.
      if (held === undefined || this.#inFlight.has(id)) continue;
      if (this.#standing(held.svid) !== "good") this.#queue.add(id);
    }
    this.#pump();
  }

  /** The server is back: tries again at once what waited for it. */
  resume(): void {
    this.#outage = undefined;
    this.#pump();
  }

  /** What is at hand, for keeping on disk. */
  snapshot(): readonly (readonly [string, HeldSvid<Svid>])[] {
    return [...this.#held];
  }

  /** Takes SVIDs over from an earlier run. */
  restore(held: Iterable<readonly [string, HeldSvid<Svid>]>): void {
    const now = this.#options.clock.now();
    for (const [id, one] of held) if (this.#endOf(one.svid) > now) this.#held.set(id, one);
  }

  /** Stops signing. What is at hand can still be read. */
  [Symbol.dispose](): void {
    this.#stopped.abort();
    this.#timer?.[Symbol.dispose]();
    this.#tainted[Symbol.dispose]();
  }

  #forget(id: string): void {
    this.#held.delete(id);
    this.#queue.delete(id);
    this.#tainted.delete(id);
    this.#failures.delete(id);
  }

  #enqueueIfMissing(id: string): void {
    const entry = this.#options.entry(id);
    if (entry === undefined || entry.storeSvid) return;
    if (this.isOnDemand(entry) && !this.#wanted.has(id)) {
      if (this.#held.get(id)?.revision !== entry.revision) this.#held.delete(id);
      return;
    }
    const held = this.#held.get(id);
    const now = this.#options.clock.now();
    if (held === undefined || held.revision !== entry.revision || held.replaceAt <= now) this.#queue.add(id);
  }

  /** Starts as many batches as may run at once. A new entry does not wait behind a large batch under way. */
  #pump(): void {
    if (this.#stopped.signal.aborted) return;
    const now = this.#options.clock.now();
    while (this.#batches < MAX_BATCHES && (this.#outage === undefined || this.#outage.until <= now)) {
      const batch = this.#take(now);
      if (batch.length === 0) break;
      this.#batches += 1;
      void this.#sign(batch).finally(() => {
        this.#batches -= 1;
        this.#pump();
      });
    }
    this.#schedule(now);
  }

  #take(now: number): readonly WorkloadEntry[] {
    const batch: WorkloadEntry[] = [];
    for (const id of this.#queue) {
      if (batch.length >= this.#batchSize) break;
      if (this.#inFlight.has(id) || (this.#failures.get(id)?.retryAt ?? 0) > now) continue;
      const entry = this.#options.entry(id);
      this.#queue.delete(id);
      if (entry === undefined) continue;
      this.#inFlight.add(id);
      batch.push(entry);
    }
    return batch;
  }

  async #sign(batch: readonly WorkloadEntry[]): Promise<void> {
    const authorities = this.#authorities;
    try {
      const outcomes = await this.#options.kind.sign(batch, this.#stopped.signal);
      this.#outage = undefined;
      this.#batchSize = Math.min(this.#options.kind.maxBatch, this.#batchSize * 2);
      for (const [i, entry] of batch.entries()) this.#settle(entry, outcomes[i], authorities);
      this.#options.onChange();
    } catch (thrown) {
      const error = toAssayError(thrown);
      if (this.#stopped.signal.aborted) return;
      for (const { id } of batch) this.#queue.add(id);
      this.#failed(batch, error);
    } finally {
      for (const { id } of batch) this.#inFlight.delete(id);
    }
  }

  /** `asked` is what was known of the authorities when the SVID was asked for. */
  #settle(
    entry: WorkloadEntry,
    outcome: SigningOutcome<Svid> | undefined,
    asked: ReadonlyMap<string, boolean>,
  ): void {
    const { clock, kind, log, spread } = this.#options;
    const current = this.#options.entry(entry.id);
    if (current === undefined) return;
    const fault = this.#faultOf(outcome);
    if (outcome === undefined || "error" in outcome || fault !== undefined) {
      const error = fault ?? new AssayError("INTERNAL", "the server left the item out");
      this.#queue.add(entry.id);
      this.#note(entry.id, error);
      log.warn(`${kind.name} could not be renewed`, {
        [FIELD.entryId]: entry.id,
        [FIELD.spiffeId]: entry.spiffeId,
        [FIELD.error]: error,
      });
      return;
    }
    const { svid } = outcome;
    if (current.spiffeId === svid.spiffeId) {
      this.#held.set(entry.id, {
        svid,
        revision: entry.revision,
        replaceAt: replaceAt(clock.now(), this.#endOf(svid), spread, (kind.beginOf?.(svid) ?? 0) * 1000),
      });
    }
    this.#failures.delete(entry.id);
    // It, or who may sign, changed while it was being signed for. A server that goes on to sign so is not asked again.
    const standing = asked === this.#authorities ? "good" : this.#standing(svid);
    if (current.revision !== entry.revision || this.#isRevoked(svid)) this.#queue.add(entry.id);
    else if (standing !== "good") this.#enqueueTainted(entry.id, standing);
  }

  /** What ended before it came would be asked for again at once, and for ever. */
  #faultOf(outcome: SigningOutcome<Svid> | undefined): AssayError | undefined {
    if (outcome === undefined || "error" in outcome) return outcome?.error;
    const late = Math.round((this.#options.clock.now() - this.#endOf(outcome.svid)) / 1000);
    if (late < 0) return undefined;
    const detail = `the ${this.#options.kind.name} ended ${late} s before it came: this machine's clock is not the server's`;
    return new AssayError("SERVER_UNAVAILABLE", detail);
  }

  #failed(batch: readonly WorkloadEntry[], error: AssayError): void {
    const now = this.#options.clock.now();
    const count = (this.#outage?.count ?? 0) + 1;
    this.#outage = {
      count,
      until: now + retryDelay(count, FIRST_RETRY, LONGEST_RETRY, this.#options.spread),
    };
    // A batch that is too large or too slow for the server may go through in halves.
    this.#batchSize = Math.max(1, Math.ceil(Math.min(this.#batchSize, batch.length) / 2));
    for (const { id } of batch) if (!this.#held.has(id)) this.#note(id, error, 0);
    this.#options.onError(error);
    this.#options.onChange();
  }

  #note(id: string, error: AssayError, delay?: number): void {
    const count = (this.#failures.get(id)?.count ?? 0) + 1;
    const wait = delay ?? retryDelay(count, FIRST_RETRY, LONGEST_RETRY, this.#options.spread);
    this.#failures.set(id, { count, retryAt: this.#options.clock.now() + wait, error });
  }

  #schedule(now: number): void {
    let at =
      this.#outage !== undefined && this.#queue.size > 0 ? this.#outage.until : Number.POSITIVE_INFINITY;
    if (this.#outage === undefined) {
      for (const id of this.#queue) at = Math.min(at, this.#failures.get(id)?.retryAt ?? at);
    }
    for (const [id, held] of this.#held) {
      if (!this.#queue.has(id) && !this.#inFlight.has(id)) at = Math.min(at, held.replaceAt);
    }
    if (at === this.#timerAt) return;
    this.#timer?.[Symbol.dispose]();
    this.#timerAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#options.clock.schedule(Math.max(at - now, MIN_WAIT), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#replaceDue();
      this.#pump();
    });
  }

  /** Unix milliseconds. */
  #endOf(svid: Svid): number {
    return this.#options.kind.endOf(svid) * 1000;
  }

  #replaceDue(): void {
    const now = this.#options.clock.now();
    for (const [id, held] of this.#held) {
      if (held.replaceAt > now || this.#inFlight.has(id)) continue;
      if (this.#isIdle(id)) this.#held.delete(id);
      else this.#queue.add(id);
    }
  }

  /** Whether nobody would get a new SVID of this entry. */
  #isIdle(id: string): boolean {
    const entry = this.#options.entry(id);
    return entry === undefined || (this.isOnDemand(entry) && !this.#wanted.has(id));
  }
}

/** How what an SVID was signed by stands now: `gone` where none of its authorities is in the bundle. */
type Standing = "good" | "tainted" | "gone";

const MAX_BATCHES = 4;
const TAINTED_BATCH = 100;
const TAINTED_INTERVAL = 5000;
const FIRST_RETRY = 500;
const LONGEST_RETRY = 60_000;
const MIN_WAIT = 100;
