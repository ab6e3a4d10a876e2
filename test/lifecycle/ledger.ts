/**
 * What must be true of authorities at every moment, whatever happened before; knows nothing of how they are kept.
 *
 * Who may legitimately hold which bundle. A bundle's content was current from the moment it was written until the next was.
 * A party (an agent on its stream or asking at intervals, a federation peer that follows the refresh hint, a relying party that
 * caches keys) is at most so many seconds behind; it holds any content that was current within that time. An authority is in
 * the bundle for some time before it signs for the first time: that time is the staleness which its SVIDs promise to survive.
 *
 *   - by schedule, undisturbed: prepared when min(half of the life, 30 days) is left of its predecessor, active when min(a
 *     sixth, 7 days) is left: a third of the life, 23 days at most. Every party above is well within that for a life of a day.
 *   - by schedule after a disturbance (a late start, a failing store, a successor that was prepared by hand and has grown old
 *     meanwhile): min(1/24 of the life, 10 minutes).
 *   - forced: no promise can be kept but that it is published first. Only: (1) the first start, or no authority that can sign:
 *     expired, its key lost, or from a future that a clock set back has taken away; (2) the active one ends before anybody looks
 *     again; (3) an operator activates what was prepared a moment ago; (4) a clock that was set in between.
 *
 * So an SVID must verify against every content that was current at any moment from (now − promise) to now. SVIDs of revoked
 * authorities are out, and must verify against nothing that is published from then on.
 */
import assert from "node:assert/strict";
import type { SpiffeBundle } from "../../src/spiffe/bundle.ts";
import type { AuthorityKind, AuthorityRecord } from "../../src/store/records.ts";
import { authoritiesOf, type HeldSvid, type LineName, LINES } from "./truth.ts";

/** What the ledger keeps about a server. */
export interface SiteFacts {
  readonly id: string;
  /** The authority of each line that signs, as was told. */
  readonly active: Map<LineName, string>;
  /** When something last came in the way of each line's schedule, by the servers' clock. */
  readonly disturbedAt: Map<LineName, number>;
  /** Seconds that the clock was ahead when it was started. */
  startedAhead: number;
  /** Whether something that it did has failed: it pauses then, and what is written down as prepared may have lost its key. */
  hadTrouble: boolean;
  /** Whether time went on without it, so that it forgets later than it would: by and by. */
  lags: boolean;
  /** Of the newest bundle it has shown. */
  sequence: bigint;
  holdsKey(publicKey: Uint8Array): boolean;
}

/** What the ledger is made with. */
export interface LedgerOptions {
  /** Seconds that authorities live. */
  readonly ttl: number;
  /** What the servers' clock says, and what is true; Unix seconds. */
  readonly now: () => { readonly server: number; readonly truth: number };
}

/** Everything that was published and signed, and what must hold of it. */
export class Ledger {
  /** Seconds between two looks at the authorities in this world. */
  readonly stride: number;
  /** How many authorities have signed by schedule, by promise: that the promises are really put to the test. */
  readonly activations = { third: 0, lead: 0, forced: 0 };
  /** How many pairs of SVID and bundle were held against each other. */
  verified = 0;
  readonly #options: LedgerOptions;
  readonly #authorities = new Map<string, AuthorityFacts>();
  readonly #sites = new Map<string, SiteFacts>();
  #contents: Content[] = [];
  #svids: HeldSvid[] = [];
  #sequence = 0n;
  #clockSetAt = Number.NEGATIVE_INFINITY;
  #aheadSince: number | undefined;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.stride = options.ttl / 48;
  }

  /** Remembers that something came in the way of the schedule of these lines. */
  disturb(site: SiteFacts, lines: readonly LineName[]): void {
    this.#sites.set(site.id, site);
    for (const line of lines) site.disturbedAt.set(line, this.#now.server);
  }

  /** Remembers that a server has lost all its keys. */
  keysLost(site: SiteFacts): void {
    for (const facts of this.#authorities.values()) {
      if (facts.record.serverId === site.id) facts.isKeyLost = true;
    }
  }

  /** Remembers that an operator moves something of these lines. */
  moveByHand(site: SiteFacts, lines: readonly LineName[]): void {
    this.disturb(site, lines);
    for (const line of lines) {
      const active = this.#authorities.get(site.active.get(line) ?? "");
      if (active !== undefined) active.wasMovedByHand = true;
    }
  }

  /** Remembers that the clock was set. */
  clockSet(ahead: number): void {
    this.#clockSetAt = this.#now.truth;
    if (ahead <= DAY) this.#aheadSince = undefined;
    else this.#aheadSince ??= this.#now.truth;
  }

  /** Remembers that an operator asked for this, before it happens. */
  ordered(id: string, what: "tainted" | "revoked"): void {
    this.#of(id).orders.add(what);
  }

  kindOf(id: string): AuthorityKind | undefined {
    return this.#authorities.get(id)?.record.kind;
  }

  /** Looks at a write to the store. */
  committed(change: { readonly put?: readonly AuthorityRecord[] }, bundle: SpiffeBundle): void {
    for (const record of change.put ?? []) this.#journaled(record);
    const ids = authoritiesOf(bundle);
    const last = this.#contents.at(-1);
    if (bundle.sequence === this.#sequence && last !== undefined) {
      assert.deepEqual(ids, last.ids, "a bundle has one content for each sequence");
      return;
    }
    assert(bundle.sequence > this.#sequence, "the sequence grows");
    this.#sequence = bundle.sequence;
    this.#inContent(ids, last);
    const { truth } = this.#now;
    if (last !== undefined) last.until = truth;
    this.#contents.push({ bundle, ids, from: truth, until: Number.POSITIVE_INFINITY });
  }

  /** Looks at what a server tells of its authorities. */
  heard(
    site: SiteFacts,
    event: { readonly event: string; readonly byOrder: boolean; readonly authorityId: string },
  ): void {
    const facts = this.#authorities.get(event.authorityId);
    if (facts === undefined) return;
    if (event.event === "continued" && facts.record.state === "active") {
      site.active.set(facts.line, facts.record.id);
    }
    if (event.event === "activated") this.#activated(site, facts, event.byOrder);
  }

  /** Looks at an SVID that has just been signed. */
  minted(site: SiteFacts, svid: HeldSvid, mustBeGood: boolean): void {
    const facts = this.#of(svid.authorityId);
    const { truth, server } = this.#now;
    const { record } = facts;
    assert(svid.notAfter <= record.notAfter, "no SVID outlives its authority");
    assert.equal(facts.line, svid.line, "an authority signs for its own line");
    assert.equal(record.serverId, site.id, "a server signs by its own authorities");
    assert.equal(record.state, "active", "only an active authority signs");
    assert(facts.publishedAt <= truth, "an authority is published before it signs");
    assert(svid.notAfter > server, "an SVID has not ended when it is signed");
    if (mustBeGood) {
      assert(
        svid.notBefore <= truth + MINUTE,
        `an SVID is good after a minute at most, not in ${svid.notBefore - truth} s`,
      );
      assert(svid.notAfter > truth, "an SVID has not ended when it is signed");
    }
    this.#svids.push(svid);
  }

  /** Looks at the bundle that a server shows. */
  sees(site: SiteFacts, bundle: SpiffeBundle): void {
    assert(bundle.sequence >= site.sequence, "no server's bundle goes backwards");
    site.sequence = bundle.sequence;
    const known = this.#contents.find((content) => content.bundle.sequence === bundle.sequence);
    if (known !== undefined)
      assert.deepEqual(authoritiesOf(bundle), known.ids, "servers show what is stored");
  }

  /** Whether the authority that signs begins later, by a minute at most, as the clock was set back by so little. */
  beginsLater(site: SiteFacts, line: LineName): boolean {
    const begin = this.#authorities.get(site.active.get(line) ?? "")?.record.notBefore ?? 0;
    return begin > this.#now.server && begin <= this.#now.server + MINUTE;
  }

  /** Looks at a revocation that has succeeded. */
  revoked(site: SiteFacts, id: string): void {
    const { record, line } = this.#of(id);
    // RSA keys come back in this world after a while.
    if (line !== "rs256") assert(!site.holdsKey(record.publicKey), "a revoked key is destroyed");
  }

  /** Whether something ended so long ago that it is to be forgotten. */
  hasEnded(records: readonly AuthorityRecord[]): boolean {
    return records.some(({ notAfter }) => notAfter < this.#now.server - DAY);
  }

  /** Looks at a journal after upkeep. */
  keptUp(records: readonly AuthorityRecord[], site: SiteFacts): void {
    for (const line of LINES) {
      const own = records.filter(({ id }) => this.#authorities.get(id)?.line === line);
      for (const state of ["active", "prepared"] as const) {
        const living = own.filter((record) => record.state === state);
        assert(living.length <= 1, `one authority of a line is ${state}`);
      }
    }
    if (site.lags) return;
    const ended = records.filter(({ notAfter }) => notAfter < this.#now.server - 2 * DAY - 2 * this.stride);
    assert.equal(ended.length, 0, `the journal of ${site.id} forgets what has ended`);
  }

  /** Holds every SVID against every bundle that somebody may hold. */
  check(): void {
    const { truth } = this.#now;
    this.#svids = this.#svids.filter(({ notAfter }) => notAfter > truth);
    const oldest = truth - LONGEST_PROMISE;
    this.#contents = this.#contents.filter(({ until }) => until >= oldest);
    for (const svid of this.#svids) {
      if (svid.notBefore > truth) continue;
      const facts = this.#of(svid.authorityId);
      if (facts.isExcused) continue;
      if (facts.orders.has("revoked") && facts.record.state === "revoked") {
        const newest = this.#contents.at(-1);
        assert(
          newest && svid.judge(newest.bundle, truth) !== undefined,
          "no bundle speaks for what is revoked",
        );
        continue;
      }
      for (const { bundle, until } of this.#contents) {
        if (until <= truth - facts.promise) continue;
        this.verified += 1;
        const fault = svid.judge(bundle, truth);
        if (fault !== undefined) {
          const left = svid.notAfter - truth;
          throw new Error(
            `an SVID of ${svid.line} authority ${svid.authorityId}, good for ${left} s, and bundle ${bundle.sequence}: ${fault}`,
          );
        }
      }
    }
  }

  #journaled(record: AuthorityRecord): void {
    const known = this.#authorities.get(record.id);
    if (known === undefined) {
      this.#authorities.set(record.id, {
        line: lineOf(record),
        record,
        orders: new Set(),
        preparedAt: this.#now,
        publishedAt: Number.POSITIVE_INFINITY,
        promise: 0,
        activeSince: Number.POSITIVE_INFINITY,
        wasMovedByHand: false,
        isKeyLost: false,
        isExcused: false,
      });
      return;
    }
    const isSame =
      Buffer.compare(known.record.publicKey, record.publicKey) === 0 &&
      known.record.kind === record.kind &&
      known.record.serverId === record.serverId;
    assert(isSame, "no two authorities have one id");
    const order = ORDER.indexOf(record.state) - ORDER.indexOf(known.record.state);
    assert(order >= 0, "an authority never goes back to an earlier state");
    for (const state of ["tainted", "revoked"] as const) {
      if (record.state === state) assert(known.orders.has(state), `nobody asked for ${state}`);
    }
    known.record = record;
  }

  #inContent(ids: ReadonlyMap<string, boolean>, last: Content | undefined): void {
    for (const [id, tainted] of ids) {
      const facts = this.#of(id);
      facts.publishedAt = Math.min(facts.publishedAt, this.#now.truth);
      assert.notEqual(facts.record.state, "revoked", "a revoked authority is in no bundle");
      assert.equal(
        tainted,
        facts.record.state === "tainted",
        "a bundle marks what is tainted, and nothing else",
      );
    }
    for (const id of last?.ids.keys() ?? []) {
      if (ids.has(id)) continue;
      const facts = this.#of(id);
      if (facts.record.state === "revoked") continue;
      assert(facts.record.notAfter < this.#now.server, "an authority leaves the bundle after its end");
      // A server that was started with a clock that is days ahead, or has had such a clock for hours, cannot know better.
      const hasLongBeenAhead = this.#aheadSince !== undefined && this.#now.truth - this.#aheadSince > HOUR;
      const startedAhead = Math.max(...[...this.#sites.values()].map((site) => site.startedAhead));
      if (hasLongBeenAhead || startedAhead > DAY) facts.isExcused = true;
      if (facts.isExcused) continue;
      const living = this.#svids.filter((svid) => svid.authorityId === id && svid.notAfter > this.#now.truth);
      assert.equal(living.length, 0, "an authority leaves the bundle after the last SVID it signed");
    }
  }

  #activated(site: SiteFacts, facts: AuthorityFacts, byOrder: boolean): void {
    const { server, truth } = this.#now;
    const { line, record, preparedAt, publishedAt } = facts;
    const prior = this.#authorities.get(site.active.get(line) ?? "");
    site.active.set(line, record.id);
    facts.activeSince = server;
    const published = truth - publishedAt;
    assert(published >= 0, "an authority is published before it is active");
    const wasClockSet = this.#clockSetAt >= preparedAt.truth;
    const forced = byOrder || wasClockSet || prior === undefined || !this.#canGoOn(site, prior);
    if (forced) {
      this.activations.forced += 1;
      facts.promise = Math.max(0, Math.min(published, LONGEST_PROMISE));
      return;
    }
    const life = prior.record.notAfter - prior.record.notBefore;
    const prepareAt = prior.record.notAfter - Math.min(life / 2, 30 * DAY);
    const isUndisturbed =
      !prior.wasMovedByHand &&
      prior.activeSince <= prepareAt &&
      (site.disturbedAt.get(line) ?? server) + (site.hadTrouble ? LONGEST_PAUSE : 0) <
        prepareAt - this.stride;
    const third = Math.min(life / 2, 30 * DAY) - Math.min(life / 6, 7 * DAY) - 2 * this.stride - ROUNDING;
    const lead = Math.max(0, Math.min(life / 24, 600) - ROUNDING / 2);
    facts.promise = isUndisturbed ? third : Math.min(lead, third);
    this.activations[isUndisturbed ? "third" : "lead"] += 1;
    const missing = facts.promise - published;
    assert(
      missing <= 0,
      `an authority is published for the promised time before it signs, not ${missing} s less`,
    );
  }

  /** Whether an authority could have gone on signing until somebody looks again. */
  #canGoOn(site: SiteFacts, { record, isKeyLost }: AuthorityFacts): boolean {
    const { server } = this.#now;
    const life = record.notAfter - record.notBefore;
    const nextLook = Math.ceil(Math.max(1, Math.min(life / 24, 10))) + 2;
    return (
      record.notAfter - server > nextLook &&
      record.notBefore <= server + MINUTE &&
      !isKeyLost &&
      site.holdsKey(record.publicKey)
    );
  }

  get #now() {
    return this.#options.now();
  }

  #of(id: string): AuthorityFacts {
    const facts = this.#authorities.get(id);
    if (facts === undefined) throw new Error(`an authority ${id} that nobody has written down`);
    return facts;
  }
}

interface AuthorityFacts {
  readonly line: LineName;
  /** As it was last written down. */
  record: AuthorityRecord;
  readonly orders: Set<"tainted" | "revoked">;
  /** When it was first written down. */
  readonly preparedAt: { readonly server: number; readonly truth: number };
  /** When it was first in the bundle, in true Unix seconds. */
  publishedAt: number;
  /** For how many seconds before its first SVID it was in the bundle at least. */
  promise: number;
  /** By the servers' clock. */
  activeSince: number;
  /** Whether its server has lost all keys since; one of RSA may come back in this world, with another authority. */
  isKeyLost: boolean;
  /** Whether an operator moved something of its line while it was active. */
  wasMovedByHand: boolean;
  /** Whether it had to leave the bundle too early, as its server could not know better. */
  isExcused: boolean;
}

/** A content of the bundle, and when it was the current one, in true Unix seconds. */
interface Content {
  readonly bundle: SpiffeBundle;
  /** Ids of its authorities, with their taint marks. */
  readonly ids: ReadonlyMap<string, boolean>;
  readonly from: number;
  until: number;
}

function lineOf({ kind, keyId }: AuthorityRecord): LineName {
  return keyId.startsWith("JWT-RS256") ? "rs256" : kind;
}

/** Seconds that are lost as clocks are read in whole ones, and certificates begin ten seconds earlier than keys. */
const ROUNDING = 4;
/** Seconds that a server pauses at most after a failure, and as many by which a clock that is set back may prolong that. */
const LONGEST_PAUSE = 600;
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const LONGEST_PROMISE = 23 * DAY;
const ORDER: readonly AuthorityRecord["state"][] = ["prepared", "active", "old", "tainted", "revoked"];
