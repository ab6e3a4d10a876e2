import type { Clock } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { ServerApi, X509Outcome } from "../link/server-api.ts";
import { replaceAt, retryDelay, type Spread } from "./rotation.ts";
import {
  type KeyAndCsr,
  newKeyAndCsr,
  type SignedX509Svid,
  signedX509Svid,
  type WorkloadKeyType,
} from "./x509-signing.ts";

/** What a cache of X509-SVIDs needs. */
export interface X509CacheOptions {
  readonly signer: Pick<ServerApi, "signX509">;
  /** The entry of this id as it stands now. */
  readonly entry: (id: string) => WorkloadEntry | undefined;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly keyType: WorkloadKeyType;
  readonly log: Log;
  /** Told after SVIDs came or went. */
  readonly onChange: () => void;
  /** Told of each failed call to the server. */
  readonly onError: (error: AssayError) => void;
}

/** An X509-SVID at hand, with the entry's revision it was signed for and when it is to be replaced (Unix ms). */
export interface HeldX509Svid {
  readonly svid: SignedX509Svid;
  readonly revision: number;
  readonly replaceAt: number;
}

/**
 * X509-SVIDs by entry. Signs what is missing at once, replaces each at half of its life, and keeps a failing entry from
 * holding up the others: each has its own pause before a further attempt, and a server that cannot be reached pauses
 * all.
 */
export class X509Cache implements Disposable {
  readonly #options: X509CacheOptions;
  readonly #held = new Map<string, HeldX509Svid>();
  readonly #queue = new Set<string>();
  readonly #inFlight = new Set<string>();
  readonly #failures = new Map<string, { count: number; retryAt: number; error: AssayError }>();
  readonly #wanted = new Map<string, number>();
  readonly #stopped = new AbortController();
  #batches = 0;
  #batchSize = MAX_BATCH;
  #outage: { count: number; until: number } | undefined;
  #timer: Disposable | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(options: X509CacheOptions) {
    this.#options = options;
  }

  /** The SVID of an entry, if there is one that has not ended and names what the entry names. */
  get(entryId: string): SignedX509Svid | undefined {
    const held = this.#held.get(entryId);
    if (held === undefined || held.svid.notAfter * 1000 <= this.#options.clock.now()) return undefined;
    return held.svid;
  }

  /** Why the last attempt to sign for an entry failed, if it did. */
  failure(entryId: string): AssayError | undefined {
    return this.#failures.get(entryId)?.error;
  }

  /** How many SVIDs are at hand. */
  get size(): number {
    return this.#held.size;
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

  /** Signs anew what a tainted authority signed; the old SVIDs are served until then. */
  replaceTainted(bundle: SpiffeBundle): void {
    const tainted = new Set(
      bundle.x509Authorities
        .filter((authority) => authority.tainted)
        .map(({ certificate }) =>
          Buffer.from(readCertificate(certificate).subjectKeyId ?? []).toString("hex"),
        ),
    );
    if (tainted.size === 0) return;
    for (const [id, { svid }] of this.#held) {
      if (issuersOf(svid).some((authority) => tainted.has(authority))) this.#queue.add(id);
    }
    this.#pump();
  }

  /** The server is back: tries again at once what waited for it. */
  resume(): void {
    this.#outage = undefined;
    this.#pump();
  }

  /** What is at hand, for keeping on disk. */
  snapshot(): readonly (readonly [string, HeldX509Svid])[] {
    return [...this.#held];
  }

  /** Takes SVIDs over from an earlier run. */
  restore(held: Iterable<readonly [string, HeldX509Svid]>): void {
    const now = this.#options.clock.now();
    for (const [id, one] of held) if (one.svid.notAfter * 1000 > now) this.#held.set(id, one);
  }

  /** Stops signing. What is at hand can still be read. */
  [Symbol.dispose](): void {
    this.#stopped.abort();
    this.#timer?.[Symbol.dispose]();
  }

  #forget(id: string): void {
    this.#held.delete(id);
    this.#queue.delete(id);
    this.#failures.delete(id);
  }

  #enqueueIfMissing(id: string): void {
    const entry = this.#options.entry(id);
    if (entry === undefined || entry.storeSvid) return;
    if (entry.disableX509SvidPrefetch && !this.#wanted.has(id)) {
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
    try {
      const keys = await freshKeys(batch.length, this.#options.keyType);
      const requests = batch.map((entry, i) => ({ entryId: entry.id, csr: (keys[i] as KeyAndCsr).csr }));
      const outcomes = await this.#options.signer.signX509(requests, this.#stopped.signal);
      this.#outage = undefined;
      this.#batchSize = Math.min(MAX_BATCH, this.#batchSize * 2);
      for (const [i, entry] of batch.entries()) {
        this.#settle(entry, outcomes[i], (keys[i] as KeyAndCsr).key);
      }
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

  #settle(entry: WorkloadEntry, outcome: X509Outcome | undefined, key: KeyAndCsr["key"]): void {
    const current = this.#options.entry(entry.id);
    if (current === undefined) return;
    try {
      if (outcome === undefined) throw new AssayError("INTERNAL", "the server left the item out");
      if ("error" in outcome) throw new AssayError("SERVER_UNAVAILABLE", outcome.error.message);
      const svid = signedX509Svid(outcome.chain, key, entry.spiffeId);
      const now = this.#options.clock.now();
      if (current.spiffeId === svid.spiffeId) {
        this.#held.set(entry.id, {
          svid,
          revision: entry.revision,
          replaceAt: replaceAt(now, svid.notAfter * 1000, this.#options.spread),
        });
      }
      this.#failures.delete(entry.id);
      // It changed while it was being signed for.
      if (current.revision !== entry.revision) this.#queue.add(entry.id);
    } catch (thrown) {
      const error = toAssayError(thrown);
      this.#queue.add(entry.id);
      this.#note(entry.id, error);
      this.#options.log.warn("X509-SVID could not be renewed", {
        [FIELD.entryId]: entry.id,
        [FIELD.spiffeId]: entry.spiffeId,
        [FIELD.error]: error,
      });
    }
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

  #replaceDue(): void {
    const now = this.#options.clock.now();
    for (const [id, held] of this.#held) {
      if (held.replaceAt > now || this.#inFlight.has(id)) continue;
      const entry = this.#options.entry(id);
      const idle = entry === undefined || (entry.disableX509SvidPrefetch && !this.#wanted.has(id));
      if (idle) this.#held.delete(id);
      else this.#queue.add(id);
    }
  }
}

/** Key identifiers of the authorities along the chain that a bundle may name. */
function issuersOf(svid: SignedX509Svid): readonly string[] {
  return svid.chain.map((der) => Buffer.from(readCertificate(der).authorityKeyId ?? []).toString("hex"));
}

/** Keys in slices, so that a large batch does not hold up the calls of workloads. */
async function freshKeys(count: number, type: WorkloadKeyType): Promise<readonly KeyAndCsr[]> {
  const keys: KeyAndCsr[] = [];
  for (let i = 0; i < count; i++) {
    if (i > 0 && i % KEYS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    const made = newKeyAndCsr(type);
    keys.push(made instanceof Promise ? await made : made);
  }
  return keys;
}

const MAX_BATCH = 500;
const MAX_BATCHES = 4;
const KEYS_PER_TURN = 50;
const FIRST_RETRY = 500;
const LONGEST_RETRY = 60_000;
const MIN_WAIT = 100;
