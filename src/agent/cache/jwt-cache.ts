import type { Clock } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { JwtSvid } from "../../spiffe/svid.ts";
import type { ServerApi } from "../link/server-api.ts";
import { tokenIdOf } from "../../crypto/jose/token-id.ts";
import type { RevokedTokens } from "./revoked-tokens.ts";
import { replaceAt, type Spread } from "./rotation.ts";

/** What a cache of JWT-SVIDs needs. */
export interface JwtCacheOptions {
  readonly signer: Pick<ServerApi, "signJwt">;
  readonly clock: Clock;
  readonly spread: Spread;
  /** JWT-SVIDs kept at most; those unused for longest go first. */
  readonly maxSize: number;
  /** What is not to be served any more. */
  readonly revoked: Pick<RevokedTokens, "has">;
  /** Told after what is kept has changed. */
  readonly onChange: () => void;
  /** Told of each failed call to the server. */
  readonly onError: (error: AssayError) => void;
}

/** A JWT-SVID at hand. */
export interface HeldJwtSvid {
  readonly entryId: string;
  readonly revision: number;
  readonly audience: readonly Audience[];
  readonly svid: JwtSvid;
  /** Unix milliseconds. */
  readonly replaceAt: number;
}

/**
 * JWT-SVIDs by entry, revision and audience in the order asked for, as the order is part of the answer (Workload API
 * §6.2.1). Renewed when asked for after half of their life; while the server cannot sign, what is still valid is served.
 */
export class JwtCache implements Disposable {
  readonly #options: JwtCacheOptions;
  readonly #held = new Map<string, HeldJwtSvid>();
  readonly #underWay = new Map<string, Promise<JwtSvid>>();
  readonly #stopped = new AbortController();
  /** Ids of the keys whose tokens may be kept; all may while none is known. */
  #good: ReadonlySet<string> | undefined;

  constructor(options: JwtCacheOptions) {
    this.#options = options;
  }

  /** How many JWT-SVIDs are kept. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * A valid JWT-SVID for the entry. Entries that want a `jti` in each get a new one each time.
   * @throws AssayError as `ServerApi.signJwt`, where nothing valid is kept either.
   */
  async fetch(entry: WorkloadEntry, audience: readonly Audience[]): Promise<JwtSvid> {
    if (entry.jwtSvidIncludeJti) return this.#sign(entry, audience);
    const key = JSON.stringify([entry.id, entry.revision, ...audience]);
    const held = this.#held.get(key);
    const now = this.#options.clock.now();
    const valid = held !== undefined && held.svid.expiresAt * 1000 > now ? held : undefined;
    if (valid !== undefined) {
      // Re-inserted, so that the map stays in the order of last use.
      this.#held.delete(key);
      this.#held.set(key, valid);
      if (valid.replaceAt > now) return valid.svid;
    }
    try {
      return await this.#signOnce(key, entry, audience);
    } catch (error) {
      if (valid !== undefined && this.#isStillGood(key, valid)) return valid.svid;
      throw error;
    }
  }

  /** Forgets what was issued for these entries. */
  forget(entryIds: readonly string[]): void {
    if (entryIds.length === 0) return;
    const gone = new Set(entryIds);
    for (const [key, { entryId }] of this.#held) if (gone.has(entryId)) this.#held.delete(key);
    this.#options.onChange();
  }

  /** Forgets what was signed by keys that are tainted or no longer in the bundle. */
  follow(bundle: SpiffeBundle): void {
    const good = new Set(
      bundle.jwtAuthorities.filter((authority) => !authority.tainted).map(({ keyId }) => keyId),
    );
    this.#good = good;
    for (const [key, { svid }] of this.#held) if (!good.has(keyIdOf(svid))) this.#held.delete(key);
  }

  /** Forgets what is revoked by now. */
  forgetRevoked(): void {
    for (const [key, { svid }] of this.#held) if (this.#isRevoked(svid)) this.#held.delete(key);
  }

  /** What is kept, for keeping on disk. */
  snapshot(): readonly HeldJwtSvid[] {
    return [...this.#held.values()];
  }

  /** Takes JWT-SVIDs over from an earlier run. */
  restore(held: Iterable<HeldJwtSvid>): void {
    const now = this.#options.clock.now();
    for (const one of held) {
      if (one.svid.expiresAt * 1000 <= now || this.#isRevoked(one.svid)) continue;
      if (this.#good?.has(keyIdOf(one.svid)) === false) continue;
      this.#held.set(JSON.stringify([one.entryId, one.revision, ...one.audience]), one);
    }
    this.#shrink();
  }

  /** Gives up what is under way. */
  [Symbol.dispose](): void {
    this.#stopped.abort();
  }

  #signOnce(key: string, entry: WorkloadEntry, audience: readonly Audience[]): Promise<JwtSvid> {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    const asked = this.#good;
    const signing = this.#sign(entry, audience)
      .then((svid) => {
        // Its key may have been tainted while it was being signed.
        if (asked !== this.#good && this.#good?.has(keyIdOf(svid)) === false) return svid;
        if (this.#isRevoked(svid)) return svid;
        const now = this.#options.clock.now();
        this.#held.delete(key);
        this.#held.set(key, {
          entryId: entry.id,
          revision: entry.revision,
          audience,
          svid,
          replaceAt: replaceAt(now, svid.expiresAt * 1000, this.#options.spread, svid.issuedAt * 1000),
        });
        this.#shrink();
        this.#options.onChange();
        return svid;
      })
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, signing);
    return signing;
  }

  async #sign(entry: WorkloadEntry, audience: readonly Audience[]): Promise<JwtSvid> {
    try {
      const svid = await this.#options.signer.signJwt(entry.id, audience, this.#stopped.signal);
      if (svid.spiffeId !== entry.spiffeId) {
        throw new AssayError(
          "INTERNAL",
          `the server's JWT-SVID is for ${svid.spiffeId}, expected ${entry.spiffeId}`,
        );
      }
      return svid;
    } catch (thrown) {
      const error = toAssayError(thrown);
      this.#options.onError(error);
      throw error;
    }
  }

  /** Meanwhile its entry may have gone, its key may have been tainted, its time may have come. */
  #isStillGood(key: string, held: HeldJwtSvid): boolean {
    return this.#held.get(key) === held && held.svid.expiresAt * 1000 > this.#options.clock.now();
  }

  #isRevoked({ token }: JwtSvid): boolean {
    return this.#options.revoked.has(tokenIdOf(token, claimsOf(token)));
  }

  #shrink(): void {
    for (const key of this.#held.keys()) {
      if (this.#held.size <= this.#options.maxSize) return;
      this.#held.delete(key);
    }
  }
}

/** The `kid` of a JWT-SVID, or the empty string; the token is the server's own and was not changed on the way. */
export function keyIdOf(svid: Pick<JwtSvid, "token">): string {
  const { kid } = partOf(svid.token, 0);
  return typeof kid === "string" ? kid : "";
}

function claimsOf(token: string): Readonly<Record<string, unknown>> {
  return partOf(token, 1);
}

function partOf(token: string, part: 0 | 1): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(token.split(".", 2)[part] ?? "", "base64url").toString());
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
