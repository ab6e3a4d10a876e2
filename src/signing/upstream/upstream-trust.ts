/**
 * signing/upstream — having our X.509 authorities signed elsewhere, and trusting what is trusted there.
 *
 * Must never know how an upstream authority is reached, nor take anything that it answers for true.
 * Called by the lines of authorities and by the composition of signing.
 */
import { cautiousSeconds, type Clock, unixSeconds } from "../../clock.ts";
import { importPublicKey, keyTypeOf } from "../../crypto/keys.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { UpstreamAuthority, UpstreamTrust as UpstreamNews } from "../../plugin/upstream-authority.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { AuthorityRecord } from "../../store/records.ts";
import type { AuthorityStore } from "../../store/store.ts";
import { type CheckedUpstreamCa, checkUpstreamCa, checkUpstreamRoots } from "./check-answer.ts";
import {
  isSameKey,
  isUpstream,
  planRevocation,
  planTaint,
  planTrust,
  rootIdOf,
  type TrustNews,
  type TrustPlan,
  upstreamIdOf,
} from "./trust-plan.ts";

/** Something that happened between an upstream authority and us. */
export type UpstreamEvent =
  /** It could not be used, and will be tried again. */
  | { readonly event: "upstream-failed"; readonly what: UpstreamTask; readonly error: AssayError }
  /** It can be used again. */
  | { readonly event: "upstream-recovered"; readonly what: UpstreamTask }
  /** A JWT authority upstream cannot be one, and is left out of the own bundle; told once for as long as it is there. */
  | { readonly event: "upstream-key-skipped"; readonly error: AssayError }
  /** What is trusted upstream came into the own bundle, was marked there, or left it. */
  | {
      readonly event:
        | "upstream-root-added"
        | "upstream-root-tainted"
        | "upstream-root-revoked"
        | "upstream-root-removed";
      /** Subject key identifier in hex. */
      readonly subjectKeyId: string;
      /** Unix seconds. */
      readonly notAfter: number;
    };

/** What is asked of an upstream authority. */
export type UpstreamTask = "mint" | "publish" | "watch";

/** What following an upstream authority stands on. */
export interface UpstreamTrustDependencies {
  readonly trustDomain: TrustDomain;
  /** None where our authorities sign themselves. Outlives this, which does not dispose it. */
  readonly upstream: UpstreamAuthority | undefined;
  readonly authorities: AuthorityStore;
  readonly clock: Clock;
  readonly bundle: () => SpiffeBundle;
  /** The JWT authorities of this server that sign, or will. */
  readonly ownJwtKeys: () => readonly JwtAuthorityKey[];
  /** Takes the own bundle as it stands after a commit. */
  readonly adopt: (bundle: SpiffeBundle) => void;
  readonly report: (event: UpstreamEvent) => void;
}

/**
 * What is trusted upstream and so in our bundle, written down in the journal; and the way to have something signed there. Without
 * an upstream authority it looks after what is left of one.
 */
export class UpstreamTrust implements AsyncDisposable {
  readonly #with: UpstreamTrustDependencies;
  readonly #stopped = new AbortController();
  readonly #failing = new Set<UpstreamTask>();
  readonly #listeners = new Set<() => void>();
  /** JWT authorities of ours that were published and may not be written down yet. */
  readonly #ownKeys = new Set<string>();
  /** JWT authorities upstream that were left out of the last news, and why. */
  #skipped: ReadonlySet<string> = new Set();
  #roots: readonly AuthorityRecord[] = [];
  #news: TrustNews | undefined;
  #subscription: Disposable | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #tidiedAt: number;
  /** Moves the time for forgetting on. */
  readonly #past: () => number;
  #pastNow: number;

  private constructor(dependencies: UpstreamTrustDependencies) {
    this.#with = dependencies;
    this.#tidiedAt = unixSeconds(dependencies.clock);
    this.#past = cautiousSeconds(dependencies.clock, MOST_FORGOTTEN_SECONDS);
    this.#pastNow = this.#tidiedAt;
  }

  /** Reads what was trusted upstream. @throws AssayError `STORE_UNAVAILABLE`. */
  static async open(dependencies: UpstreamTrustDependencies): Promise<UpstreamTrust> {
    const trust = new UpstreamTrust(dependencies);
    trust.#roots = rootsIn(await dependencies.authorities.list());
    return trust;
  }

  /** Whether our X.509 authorities are signed upstream. */
  get isConfigured(): boolean {
    return this.#with.upstream !== undefined;
  }

  /** Whether roots upstream are written down. */
  get hasRoots(): boolean {
    return this.#roots.length > 0;
  }

  /** What could not be done upstream when it was last tried. */
  get failing(): readonly UpstreamTask[] {
    return [...this.#failing];
  }

  /** Begins to follow what is trusted upstream, where the upstream authority tells of it. */
  follow(): void {
    this.#subscription = this.#with.upstream?.watch?.((news) => void this.#hear(news));
  }

  /** Calls the listener after something changed in what is trusted upstream. It must not throw. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /**
   * Has a CA certificate made upstream and checks it. When it resolves, the roots upstream are in the own bundle.
   * @param csr DER PKCS#10.
   * @param publicKey The key that the request was signed with.
   * @param ttl Wanted lifetime in seconds.
   * @throws AssayError `UPSTREAM_UNAVAILABLE`, `UPSTREAM_REFUSED`, `STORE_UNAVAILABLE`.
   */
  mintX509Ca(csr: Uint8Array, publicKey: Uint8Array, ttl: number): Promise<CheckedUpstreamCa> {
    return this.#asked("mint", async (upstream, signal) => {
      const { trustDomain, clock } = this.#with;
      const answer = await upstream.mintX509Ca({ csr, ttl, signal });
      const ca = checkUpstreamCa(answer, { trustDomain, publicKey, now: unixSeconds(clock) });
      await this.#take({ roots: ca.roots, jwtKeys: this.#news?.jwtKeys });
      const state = stateOf(this.#roots.filter((root) => isSameKey(root, ca.root)));
      if (ca.root.tainted || state === "tainted" || state === "revoked") {
        throw new AssayError(
          "UPSTREAM_REFUSED",
          `upstream authority: root ${ca.root.id} is ${state === "revoked" ? "revoked" : "tainted"}, expected another to sign`,
        );
      }
      return ca;
    });
  }

  /**
   * Publishes a JWT authority upstream, where JWT authorities are published there; gives all that are there then.
   * @param isOwn Whether it is one of ours, and not one of a server below us, which is trusted only because upstream says so.
   * @throws AssayError `UPSTREAM_UNAVAILABLE`, `UPSTREAM_REFUSED`, `STORE_UNAVAILABLE`.
   */
  async publishJwtKey(key: JwtAuthorityKey, isOwn: boolean): Promise<readonly JwtAuthorityKey[] | undefined> {
    if (this.#with.upstream?.publishJwtKey === undefined) return undefined;
    if (isOwn) this.#ownKeys.add(key.keyId);
    return this.#asked("publish", async (upstream, signal) => {
      const jwtKeys = this.#usable((await upstream.publishJwtKey?.(key, signal)) ?? []);
      const isThere = jwtKeys.some(
        ({ keyId, publicKey }) => keyId === key.keyId && equal(publicKey, key.publicKey),
      );
      if (!isThere) throw refusal(`JWT authority ${key.keyId} is not among those it publishes`);
      if (this.#news !== undefined) this.#news = { ...this.#news, jwtKeys };
      await this.#commit((stored, ...times) =>
        planTrust(
          stored,
          { roots: this.#news?.roots ?? keep(stored), jwtKeys, ownKeys: this.#ownKeys },
          ...times,
        ),
      );
      return jwtKeys;
    });
  }

  /** The state of the root that an authority chains to: `undefined` for one that is self-signed or of an unknown root. */
  rootStateOf(record: AuthorityRecord): AuthorityRecord["state"] | undefined {
    const id = upstreamIdOf(record);
    return id === undefined ? undefined : stateOf(this.#roots.filter((root) => rootIdOf(root) === id));
  }

  /** Since when, in Unix seconds, the root that an authority chains to is in the bundle; 0 where that is not known. */
  rootSince(record: AuthorityRecord): number {
    const id = upstreamIdOf(record);
    const roots = this.#roots.filter((root) => rootIdOf(root) === id);
    return roots.length === 0 ? 0 : Math.min(...roots.map(({ changedAt }) => changedAt));
  }

  /**
   * Marks a root upstream: it is still trusted, and what chains to it is to be replaced.
   * @param inUse Roots that authorities which sign, or will, chain to.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one in use or revoked, `STORE_UNAVAILABLE`.
   */
  async taint(subjectKeyId: string, inUse: ReadonlySet<string>): Promise<AuthorityRecord> {
    const roots = this.#found(subjectKeyId, inUse);
    if (roots.some(({ state }) => state === "revoked")) {
      throw new AssayError("PRECONDITION_FAILED", `upstream authority ${subjectKeyId} is revoked`);
    }
    const active = roots.filter(({ state }) => state === "active");
    await this.#commit((_, now) => planTaint(active, now));
    return this.#found(subjectKeyId, new Set())[0] as AuthorityRecord;
  }

  /**
   * Takes a tainted root upstream out of the bundle for good, whatever the upstream authority says of it.
   * @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED` for one in use or not tainted, `STORE_UNAVAILABLE`.
   */
  async revoke(subjectKeyId: string, inUse: ReadonlySet<string>): Promise<AuthorityRecord> {
    const roots = this.#found(subjectKeyId, inUse);
    if (roots.some(({ state }) => state === "active")) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `upstream authority ${subjectKeyId} is not tainted, expected one that is`,
      );
    }
    await this.#commit((_, now) => planRevocation(roots, now));
    return this.#found(subjectKeyId, new Set())[0] as AuthorityRecord;
  }

  /**
   * Lets go of roots that nothing chains to any more, though nobody tells anything new; once an hour, and to be called every few
   * seconds: with each call only so much is forgotten.
   */
  async tidy(): Promise<void> {
    this.#pastNow = this.#past();
    const now = unixSeconds(this.#with.clock);
    // A clock that was set back must not make the pause longer.
    if (now - this.#tidiedAt < TIDY_SECONDS && now >= this.#tidiedAt) return;
    this.#tidiedAt = now;
    await this.settle();
  }

  /** Writes what follows from the last news; without an upstream authority, that nothing is trusted there. */
  async settle(): Promise<void> {
    const news = this.isConfigured ? this.#news : { roots: [], jwtKeys: [] };
    if (this.#roots.length === 0 && !this.isConfigured) return;
    await this.#commit((stored, ...times) =>
      planTrust(stored, { ...(news ?? { roots: keep(stored) }), ownKeys: this.#ownKeys }, ...times),
    );
  }

  /** Waits for no answer any more: whoever asked is told that there will be none. */
  stop(): void {
    this.#subscription?.[Symbol.dispose]();
    this.#listeners.clear();
    this.#stopped.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.#last;
  }

  #found(subjectKeyId: string, inUse: ReadonlySet<string>): readonly AuthorityRecord[] {
    const roots = this.#roots.filter((root) => rootIdOf(root) === subjectKeyId);
    if (roots.length === 0) {
      throw new AssayError("AUTHORITY_NOT_FOUND", `there is no upstream authority ${subjectKeyId}`);
    }
    if (inUse.has(subjectKeyId)) {
      throw new AssayError(
        "PRECONDITION_FAILED",
        `upstream authority ${subjectKeyId} signed an authority that is active or prepared; let another sign and activate what it signed first`,
      );
    }
    return roots;
  }

  async #hear({ roots, jwtKeys }: UpstreamNews): Promise<void> {
    try {
      const now = unixSeconds(this.#with.clock);
      const news = {
        roots: checkUpstreamRoots(roots, now),
        ...(jwtKeys !== undefined && { jwtKeys: this.#usable(jwtKeys) }),
      };
      await this.#take(news);
      this.#recovered("watch");
      await this.#publishLost(news.jwtKeys);
    } catch (error) {
      this.#failed("watch", toAssayError(error));
    }
  }

  /** Keys without those that cannot be: one that a server below has published must not keep all others from us. */
  #usable(keys: readonly JwtAuthorityKey[]): readonly JwtAuthorityKey[] {
    if (keys.length > MAX_KEYS)
      throw refusal(`there must be at most ${MAX_KEYS} JWT authorities, are ${keys.length}`);
    const skipped = new Set<string>();
    const usable = keys.flatMap((key) => {
      try {
        return [checkedKey(key)];
      } catch (error) {
        const text = `${key.keyId.slice(0, SHOWN_OF_KEY_ID)}: ${toAssayError(error).detail}`;
        if (!this.#skipped.has(text) && !skipped.has(text)) {
          const detail = `upstream authority: JWT authority ${text}`;
          this.#with.report({
            event: "upstream-key-skipped",
            error: new AssayError("UPSTREAM_REFUSED", detail, { cause: error }),
          });
        }
        skipped.add(text);
        return [];
      }
    });
    this.#skipped = skipped;
    return usable;
  }

  /** Publishes again what signs or will, and upstream has lost, as where its store came back from a backup. */
  async #publishLost(jwtKeys: readonly JwtAuthorityKey[] | undefined): Promise<void> {
    if (jwtKeys === undefined) return;
    const there = new Set(jwtKeys.map(({ keyId }) => keyId));
    for (const key of this.#with.ownJwtKeys()) {
      // What fails is told where it is asked, and asked again with the next news.
      if (!there.has(key.keyId)) await this.publishJwtKey(key, true).catch(() => undefined);
    }
  }

  async #take(news: TrustNews): Promise<void> {
    this.#news = news;
    await this.#commit((stored, ...times) =>
      planTrust(stored, { ...news, ownKeys: this.#ownKeys }, ...times),
    );
  }

  /** Writes a plan; one at a time, as each begins with what the one before left. */
  #commit(plan: (stored: readonly AuthorityRecord[], now: number, past: number) => TrustPlan): Promise<void> {
    const next = this.#last.then(async () => {
      const { authorities, clock, bundle, adopt } = this.#with;
      const stored = await authorities.list();
      for (const { id } of stored) this.#ownKeys.delete(id);
      const now = unixSeconds(clock);
      const planned = plan(stored, now, Math.min(now, this.#pastNow));
      const before = bundle();
      const isNothing = planned.put.length + planned.delete.length === 0 && planned.edit(before) === before;
      if (!isNothing) adopt(await authorities.commit(planned, (edited) => planned.edit(edited)));
      const left = isNothing ? stored : await authorities.list();
      this.#tell(rootsIn(left));
    });
    this.#last = next.catch(() => undefined);
    return next;
  }

  #tell(roots: readonly AuthorityRecord[]): void {
    const before = new Map(this.#roots.map((root) => [root.id, root]));
    this.#roots = roots;
    let hasChanged = false;
    const tell = (event: RootEvent, root: AuthorityRecord) => {
      hasChanged = true;
      this.#with.report({ event, subjectKeyId: rootIdOf(root), notAfter: root.notAfter });
    };
    for (const root of roots) {
      const was = before.get(root.id)?.state;
      before.delete(root.id);
      if (was === undefined && root.state !== "revoked") tell("upstream-root-added", root);
      if (was !== root.state && root.state === "tainted") tell("upstream-root-tainted", root);
      if (was !== root.state && root.state === "revoked") tell("upstream-root-revoked", root);
    }
    for (const root of before.values()) tell("upstream-root-removed", root);
    if (hasChanged) for (const listener of this.#listeners) listener();
  }

  async #asked<Answer>(
    what: UpstreamTask,
    ask: (upstream: UpstreamAuthority, signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    const { upstream, clock } = this.#with;
    if (upstream === undefined) throw new AssayError("INTERNAL", "there is no upstream authority");
    const late = new AbortController();
    const wait = clock.schedule(PATIENCE_MS, () => late.abort());
    const signal = AbortSignal.any([this.#stopped.signal, late.signal]);
    try {
      const answer = await Promise.race([ask(upstream, signal), ended(signal)]);
      this.#recovered(what);
      return answer;
    } catch (thrown) {
      const error = asUpstreamError(thrown);
      this.#failed(what, error);
      throw error;
    } finally {
      wait[Symbol.dispose]();
    }
  }

  #failed(what: UpstreamTask, error: AssayError): void {
    if (this.#stopped.signal.aborted) return;
    this.#failing.add(what);
    this.#with.report({ event: "upstream-failed", what, error });
  }

  #recovered(what: UpstreamTask): void {
    if (this.#failing.delete(what)) this.#with.report({ event: "upstream-recovered", what });
  }
}

type RootEvent = Extract<UpstreamEvent, { subjectKeyId: string }>["event"];

/** The worst that is known of certificates of one key. */
function stateOf(roots: readonly AuthorityRecord[]): AuthorityRecord["state"] | undefined {
  return (["revoked", "tainted", "active"] as const).find((state) =>
    roots.some((root) => root.state === state),
  );
}

function rootsIn(stored: readonly AuthorityRecord[]): readonly AuthorityRecord[] {
  return stored.filter((record) => isUpstream(record) && record.kind === "x509");
}

/** The roots that are written down, as if they had just been told: for news of keys alone. */
function keep(stored: readonly AuthorityRecord[]): TrustNews["roots"] {
  return rootsIn(stored)
    .filter(({ state }) => state !== "revoked")
    .map((root) => ({
      id: rootIdOf(root),
      certificate: root.chain[0] ?? new Uint8Array(),
      tainted: false,
      publicKey: root.publicKey,
      notBefore: root.notBefore,
      notAfter: root.notAfter,
    }));
}

/** A key as an upstream authority tells it. @throws AssayError `UPSTREAM_REFUSED`. */
function checkedKey({ keyId, publicKey, expiresAt, tainted }: JwtAuthorityKey): JwtAuthorityKey {
  const refused = (detail: string) => new AssayError("UPSTREAM_REFUSED", detail);
  if (keyId === "" || keyId.length > MAX_KEY_ID)
    throw refused(`expected an id of 1 to ${MAX_KEY_ID} characters`);
  if (!Number.isSafeInteger(expiresAt) || expiresAt < 0) throw refused("has no usable end");
  keyTypeOf(publicKey, "UPSTREAM_REFUSED");
  importPublicKey(publicKey, "UPSTREAM_REFUSED");
  return { keyId, publicKey, expiresAt, tainted };
}

/** Whatever a plugin throws, in words that say whose fault it is. */
function asUpstreamError(thrown: unknown): AssayError {
  const error = toAssayError(thrown);
  if (error.code !== "INTERNAL" && error.code !== "CANCELLED") return error;
  return new AssayError("UPSTREAM_UNAVAILABLE", `upstream authority: ${error.detail}`, { cause: thrown });
}

function refusal(detail: string): AssayError {
  return new AssayError("UPSTREAM_REFUSED", `upstream authority: ${detail}`);
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () =>
      reject(
        new AssayError(
          "UPSTREAM_UNAVAILABLE",
          `upstream authority: no answer within ${PATIENCE_MS / 1000} s`,
        ),
      );
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

const PATIENCE_MS = 60_000;
const TIDY_SECONDS = 3600;
/** For each look, of which there is one every ten seconds or more often. */
const MOST_FORGOTTEN_SECONDS = 60;
const MAX_KEYS = 1024;
const MAX_KEY_ID = 1024;
const SHOWN_OF_KEY_ID = 64;
