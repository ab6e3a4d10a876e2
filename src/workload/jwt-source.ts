import { unixSeconds } from "../clock.ts";
import type { JwtSvidFacts } from "../crypto/jose/jwt-svid-verify.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { JWTBundlesResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId, type SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { JwtBundle, JwtBundleSource } from "./bundles.ts";
import { type Pick, pickSvid } from "./hints.ts";
import { JwtSvidCache } from "./jwt-svid-cache.ts";
import { openSource } from "./open-source.ts";
import { readJwtBundles } from "./read-bundles.ts";
import { readJwtSvids, type WorkloadJwtSvid } from "./read-jwt-svids.ts";
import { StreamSource } from "./stream-source.ts";
import { validateJwtSvid, type JwtValidation } from "./validate.ts";
import type { WorkloadOptions } from "./workload-api.ts";

/** What a JWT-SVID is asked for. */
export interface JwtSvidWanted extends Pick {
  /** Who it is shown to. One is best: whoever of several receives it could show it to the others (JWT-SVID §7.2). */
  readonly audience: string | readonly string[];
}

/**
 * This workload's JWT-SVIDs, fetched as they are needed, and the bundles to judge others' by, kept fresh by one open
 * stream (Workload API §6.2).
 */
export class JwtSource
  extends StreamSource<JWTBundlesResponse, ReadonlyMap<TrustDomain, JwtBundle>>
  implements JwtBundleSource
{
  readonly #cache: JwtSvidCache;
  readonly #closed = new AbortController();

  /** Begins the stream of bundles and does not wait; {@link openJwtSource} does. */
  constructor(options: WorkloadOptions) {
    super(options, (api) => ({
      what: "JWT bundles",
      open: (signal) => api.calls.fetchJWTBundles({}, api.callOptions(signal)),
      read: ({ bundles }) => readJwtBundles(bundles, api.onProblem),
    }));
    this.#cache = new JwtSvidCache(this.api);
    // Whoever may no longer have bundles may no longer have an identity either.
    this.follower.onUpdate(() => {
      if (this.follower.current === undefined) this.#cache.clear();
    });
  }

  /**
   * A JWT-SVID for the audience: the default identity's, or the one picked. The same one is given until half its life
   * has passed; while a new one cannot be had, as long as it is valid.
   * @throws AssayError `INVALID_AUDIENCE`, `INVALID_SPIFFE_ID`, `NO_IDENTITY_ISSUED`, `SERVER_UNAVAILABLE` …
   */
  async jwtSvid(wanted: JwtSvidWanted): Promise<WorkloadJwtSvid> {
    const audience = parseAudiences(
      typeof wanted.audience === "string" ? [wanted.audience] : wanted.audience,
    );
    const spiffeId = wanted.spiffeId === undefined ? undefined : parseSpiffeId(wanted.spiffeId);
    const key = JSON.stringify([spiffeId ?? "", wanted.hint ?? "", ...audience.toSorted()]);
    return this.#cache.get(key, async () => pickSvid(await this.#fetch(audience, spiffeId), wanted));
  }

  /** JWT-SVIDs for the audience, one of each identity, never from memory. @throws AssayError as {@link jwtSvid}. */
  jwtSvids(audience: string | readonly string[]): Promise<readonly WorkloadJwtSvid[]> {
    return this.#fetch(parseAudiences(typeof audience === "string" ? [audience] : audience), undefined);
  }

  jwtBundles(): ReadonlyMap<TrustDomain, JwtBundle> {
    return this.follower.current ?? new Map();
  }

  /**
   * Validates somebody's JWT-SVID here, with the bundle of its subject's trust domain (JWT-SVID §4).
   * @throws AssayError `INVALID_JWT_SVID`; the detail never quotes the token.
   */
  validate(token: string, validation: Omit<JwtValidation, "clock">): Promise<JwtSvidFacts> {
    return validateJwtSvid(token, this, { ...validation, clock: this.api.clock });
  }

  /**
   * Lets the Workload API validate somebody's JWT-SVID (ValidateJWTSVID, Workload API §6.2.3, §6.3), and gives the ID.
   * @throws AssayError `INVALID_JWT_SVID` where it says no; `SERVER_UNAVAILABLE` and others where it says nothing.
   */
  async validateRemotely(token: string, audience: string): Promise<SpiffeId> {
    let answer: { readonly spiffeId: string; readonly claims?: unknown };
    try {
      answer = await this.api.calls.validateJWTSVID({ audience, svid: token }, this.#callOptions());
    } catch (error) {
      if (!(error instanceof AssayError) || error.code !== "INVALID_REQUEST") throw error;
      throw new AssayError("INVALID_JWT_SVID", error.detail, { cause: error });
    }
    if (answer.claims === undefined) throw new AssayError("INVALID_REQUEST", "answer must have claims");
    return parseSpiffeId(answer.spiffeId);
  }

  /** Ends the stream and forgets bundles and JWT-SVIDs. */
  override async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await super[Symbol.asyncDispose]();
    this.#cache.clear();
  }

  async #fetch(
    audience: readonly string[],
    spiffeId: SpiffeId | undefined,
  ): Promise<readonly WorkloadJwtSvid[]> {
    const request = { audience: [...audience], spiffeId: spiffeId ?? "" };
    const response = await this.api.calls.fetchJWTSVID(request, this.#callOptions());
    return readJwtSvids(response, { audience, spiffeId, now: unixSeconds(this.api.clock) });
  }

  #callOptions() {
    return this.api.callOptions(this.#closed.signal, CALL_TIMEOUT_MS);
  }
}

/** Opens a source and waits for its first JWT bundles. @throws AssayError as `openX509Source`. */
export async function openJwtSource(options: WorkloadOptions = {}): Promise<JwtSource> {
  return openSource(new JwtSource(options), options);
}

const CALL_TIMEOUT_MS = 10_000;
