import { randomBytes } from "node:crypto";
import { unixSeconds } from "../../src/clock.ts";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { openSigning, type SigningDependencies, type SigningEvent } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseAudiences } from "../../src/spiffe/audience.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { AuthorityKind } from "../../src/store/records.ts";
import { FakeAuthorityStore } from "../fakes/authority-store.ts";
import { FakeClock } from "../fakes/clock.ts";
import { LosableKeys } from "./keys.ts";
import { Ledger, type SiteFacts } from "./ledger.ts";
import { type HeldSvid, heldToken, heldX509, type LineName, LINES } from "./truth.ts";

/** What a world is made with. */
export interface WorldOptions {
  /** Seconds that authorities live. */
  readonly ttl: number;
  /** Whether there are the lines that are off unless asked for. */
  readonly rs256: boolean;
  readonly wit: boolean;
  readonly servers: 1 | 2;
  /** Milliseconds into a second at which the world begins. */
  readonly phase: number;
}

/** A server's place: what is there while it runs, and what outlives it. */
interface Site extends SiteFacts {
  readonly keys: LosableKeys;
  signing: Signing | undefined;
  /** Whether it has looked after its authorities, without a failure, since time last moved. */
  isWell: boolean;
}

/**
 * One or two servers on one store, their keys and their clock, and the true time beside it. Every step that the commands make
 * goes through here, and the ledger looks at what comes of it.
 */
export class LifecycleWorld implements AsyncDisposable {
  readonly clock: FakeClock;
  readonly ledger: Ledger;
  readonly sites: readonly Site[];
  readonly lines: readonly LineName[];
  readonly #options: WorldOptions;
  readonly #store = new FakeAuthorityStore(trustDomain);
  /** The true time in Unix milliseconds; the servers' clock may say something else. */
  #truth: number;
  #isStoreDown = false;

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.#truth = START + options.phase;
    this.clock = new FakeClock(this.#truth);
    this.lines = LINES.filter(
      (line) => (line !== "rs256" || options.rs256) && (line !== "wit" || options.wit),
    );
    this.ledger = new Ledger({
      ttl: options.ttl,
      now: () => ({ server: unixSeconds(this.clock), truth: Math.floor(this.#truth / 1000) }),
    });
    this.sites = ["one", "two"].slice(0, options.servers).map((id) => ({
      id,
      keys: new LosableKeys(),
      signing: undefined,
      isWell: false,
      active: new Map(),
      disturbedAt: new Map(),
      startedAhead: 0,
      lags: false,
      hadTrouble: false,
      sequence: 0n,
      holdsKey: (publicKey) => this.sites.find((site) => site.id === id)?.keys.holds(publicKey) ?? false,
    }));
  }

  /** A world in which every server has just been started for the first time. */
  static async begin(options: WorldOptions): Promise<LifecycleWorld> {
    const world = new LifecycleWorld(options);
    for (const site of world.sites) await world.start(site.id);
    return world;
  }

  /** Seconds that the servers' clock is ahead of the true time. */
  get ahead(): number {
    return Math.round((this.clock.now() - this.#truth) / 1000);
  }

  /** Seconds that have passed in truth. */
  get age(): number {
    return (this.#truth - START) / 1000;
  }

  /** Starts a server that is down. Where store or keys fail it stays down. */
  async start(id: string): Promise<void> {
    const site = this.#site(id);
    if (site.signing !== undefined) return;
    this.ledger.disturb(site, this.lines);
    site.startedAhead = this.ahead;
    site.lags = false;
    await this.#attempt(site, async () => {
      site.signing = await openSigning({
        trustDomain,
        store: this.#watchedStore(),
        keyManager: site.keys,
        clock: this.clock,
        random: randomBytes,
        options: {
          serverId: site.id,
          caTtlSeconds: this.#options.ttl,
          rs256: this.#options.rs256,
          wit: this.#options.wit,
        },
        report: (event) => this.#heard(site, event),
      });
      site.isWell = true;
      this.ledger.keptUp(site.signing.authorities(), site);
    });
  }

  /** Stops a server; memory may lose its keys over that. */
  async stop(id: string, losesKeys: boolean): Promise<void> {
    const site = this.#site(id);
    await site.signing?.[Symbol.asyncDispose]();
    site.signing = undefined;
    site.isWell = false;
    if (losesKeys) {
      site.keys.loseAll();
      this.ledger.keysLost(site);
    }
    this.ledger.disturb(site, this.lines);
  }

  /** Lets time pass while the servers that run look after their authorities; without upkeep as while a machine sleeps. */
  async pass(seconds: number, upkeep: boolean): Promise<void> {
    const running = this.sites.filter(({ signing }) => signing !== undefined);
    const step = upkeep ? this.ledger.stride : seconds;
    if (!upkeep) for (const site of running) site.lags = true;
    if (!upkeep) for (const site of running) this.ledger.disturb(site, this.lines);
    for (let left = seconds; left > 0; left -= step) {
      this.#move(Math.min(step, left));
      for (const site of running) site.isWell = false;
      if (upkeep) for (const site of running) await this.#keepUp(site, Math.min(step, left));
    }
    if (!upkeep) for (const site of running) this.ledger.disturb(site, this.lines);
    this.check();
  }

  /** Sets the servers' clock to so many seconds ahead of the true time. */
  setAhead(seconds: number): void {
    this.clock.step(this.#truth + seconds * 1000 - this.clock.now());
    for (const site of this.sites) {
      site.isWell = false;
      site.lags = true;
      this.ledger.disturb(site, this.lines);
    }
    this.ledger.clockSet(this.ahead);
    this.check();
  }

  /** Has the store or the keys fail from now on, or work again. */
  setDown(what: "store" | "keys", isDown: boolean): void {
    if (what === "store") {
      this.#isStoreDown = isDown;
      this.#store.commitsLeft = isDown ? 0 : Number.POSITIVE_INFINITY;
      this.#store.readable = !isDown;
      if (!isDown) this.#store.notify();
    } else for (const site of this.sites) site.keys.isDown = isDown;
    for (const site of this.sites) {
      site.isWell = false;
      this.ledger.disturb(site, this.lines);
    }
  }

  /** Moves an authority by hand; nothing happens where there is none to be moved. */
  async order(
    id: string,
    kind: AuthorityKind,
    step: "prepare" | "activate" | "taint" | "revoke",
  ): Promise<void> {
    const site = this.#site(id);
    const { signing } = site;
    if (signing === undefined || (kind === "wit" && !this.#options.wit)) return;
    this.ledger.moveByHand(site, linesOf(kind));
    await this.#attempt(site, async () => {
      const states = signing.authorityStates(kind);
      if (step === "prepare") await signing.prepareAuthority(kind);
      else if (step === "activate" && states.prepared !== undefined) await signing.activateAuthority(kind);
      else if (step === "taint") await this.#taint(site, kind);
      else if (step === "revoke") await this.#revoke(site, kind);
    });
    this.check();
  }

  /**
   * Has an SVID signed. A server that has looked after its authorities a moment ago must be able to, and where the clock is
   * right the SVID must be good at once.
   */
  async mint(id: string, line: LineName, ttl: number): Promise<void> {
    const site = this.#site(id);
    if (site.signing === undefined || !this.lines.includes(line)) return;
    let svid: HeldSvid;
    try {
      svid = await sign(site.signing, line, ttl);
    } catch (error) {
      const isExcused = !site.isWell || site.keys.isDown || this.ledger.beginsLater(site, line);
      if (isExcused && error instanceof AssayError && EXCUSES.has(error.code)) return;
      throw error;
    }
    this.ledger.minted(site, svid, this.ahead === 0 && site.isWell);
    this.check();
  }

  /** Looks at everything that must hold at every moment. */
  check(): void {
    this.ledger.check();
    for (const site of this.sites) {
      if (site.signing !== undefined) this.ledger.sees(site, site.signing.bundle());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { signing } of this.sites) await signing?.[Symbol.asyncDispose]();
  }

  async #keepUp(site: Site, seconds: number): Promise<void> {
    const { signing } = site;
    if (signing === undefined) return;
    if (seconds > 60) site.lags = true;
    await this.#attempt(site, async () => {
      await signing.keepUp();
      // In truth it looks every ten seconds at least, which matters for what it forgets: never much at once.
      const looks = Math.min(Math.ceil(seconds / 60), 30);
      for (let look = 0; look < looks && this.ledger.hasEnded(signing.authorities()); look++) {
        await signing.keepUp();
      }
      // While it pauses after a failure it does nothing and says nothing.
      site.isWell = !this.#isStoreDown && !site.keys.isDown;
      this.ledger.keptUp(signing.authorities(), site);
    });
  }

  async #taint(site: Site, kind: AuthorityKind): Promise<void> {
    for (const { id, state } of site.signing?.authorities() ?? []) {
      if (state !== "old" || this.ledger.kindOf(id) !== kind) continue;
      this.ledger.ordered(id, "tainted");
      await site.signing?.taintAuthority(kind, id);
      return;
    }
  }

  async #revoke(site: Site, kind: AuthorityKind): Promise<void> {
    for (const { id, state } of site.signing?.authorities() ?? []) {
      if (state !== "tainted" || this.ledger.kindOf(id) !== kind) continue;
      this.ledger.ordered(id, "revoked");
      await site.signing?.revokeAuthority(kind, id);
      this.ledger.revoked(site, id);
      return;
    }
  }

  /** Does something that may fail for what is down, and for nothing else. */
  async #attempt(site: Site, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      site.isWell = false;
      const isExcused = this.#isStoreDown || site.keys.isDown;
      const code = error instanceof AssayError ? error.code : "";
      if (code === "AUTHORITY_NOT_FOUND" && site.hadTrouble) return;
      site.hadTrouble = true;
      if (!isExcused || (code !== "STORE_UNAVAILABLE" && code !== "KEY_UNAVAILABLE")) throw error;
    }
  }

  #heard(site: Site, event: SigningEvent): void {
    if ("authorityId" in event) this.ledger.heard(site, event);
  }

  #move(seconds: number): void {
    this.#truth += seconds * 1000;
    this.clock.step(seconds * 1000);
  }

  #watchedStore(): SigningDependencies["store"] {
    const { authorities, bundles, changes } = this.#store;
    return {
      bundles,
      changes,
      authorities: {
        list: () => authorities.list(),
        commit: async (change, edit) => {
          const bundle = await authorities.commit(change, edit);
          this.ledger.committed(change, bundle);
          return bundle;
        },
      },
    };
  }

  #site(id: string): Site {
    const site = this.sites.find((one) => one.id === id);
    // Commands name a second server in worlds that have one only: that is the first, too.
    return site ?? (this.sites[0] as Site);
  }
}

/** The lines that an operator moves by one order. */
function linesOf(kind: AuthorityKind): readonly LineName[] {
  return kind === "jwt" ? ["jwt", "rs256"] : [kind];
}

async function sign(signing: Signing, line: LineName, ttl: number): Promise<HeldSvid> {
  switch (line) {
    case "x509": {
      const order = { spiffeId, publicKey: workloadKey, dnsNames: [], ttl };
      const { authorityId, certificate } = await signing.signX509Svid(signing.prepareX509Svid(order));
      return heldX509(authorityId, certificate);
    }
    case "jwt":
    case "rs256": {
      const algorithm = line === "rs256" ? ({ algorithm: "RS256" } as const) : {};
      const order = { spiffeId, audiences, ttl, includeJti: false, ...algorithm };
      return heldToken(line, (await signing.signJwtSvid(signing.prepareJwtSvid(order))).token);
    }
    case "wit": {
      const order = { spiffeId, publicKey: workloadKey, keyAlgorithm: "ES256", ttl } as const;
      return heldToken(line, (await signing.signWitSvid(signing.prepareWitSvid(order))).token);
    }
  }
}

const trustDomain = parseTrustDomain("example.org");
const spiffeId = parseSpiffeId("spiffe://example.org/workload");
const audiences = parseAudiences(["spiffe://example.org/peer"]);
const workloadKey = generateEcKeyPair("ec-p256").spki;
const START = Date.parse("2026-11-22T12:00:00Z");
/** Why a server that has not looked after its authorities for a while may refuse to sign. */
const EXCUSES: ReadonlySet<string> = new Set([
  "AUTHORITY_EXPIRED",
  "KEY_UNAVAILABLE",
  "CERTIFICATE_LINT_FAILED",
]);
