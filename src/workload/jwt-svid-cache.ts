import { type Clock, unixSeconds } from "../clock.ts";
import { type AssayError, toAssayError } from "../errors/assay-error.ts";
import type { WorkloadJwtSvid } from "./read-jwt-svids.ts";

/** What the cache needs of its surroundings. */
interface Surroundings {
  readonly clock: Clock;
  readonly onProblem: (problem: AssayError) => void;
}

/**
 * JWT-SVIDs by what was asked for, at most 1000, those asked for longest ago forgotten first. One is given out until half
 * its life has passed, so that it has enough left for wherever it is going; then a new one is fetched, once for all who
 * wait. Where that fails, and not because the identity is gone, the old one serves while it is valid.
 */
export class JwtSvidCache {
  readonly #surroundings: Surroundings;
  readonly #svids = new Map<string, { readonly svid: WorkloadJwtSvid; readonly freshUntil: number }>();
  readonly #fetching = new Map<string, Promise<WorkloadJwtSvid>>();
  #generation = 0;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  /** The one kept under `key`, or what `fetch` brings. Throws what `fetch` throws. */
  async get(key: string, fetch: () => Promise<WorkloadJwtSvid>): Promise<WorkloadJwtSvid> {
    const kept = this.#svids.get(key);
    if (kept !== undefined && this.#now() < kept.freshUntil) return kept.svid;
    let fetching = this.#fetching.get(key);
    if (fetching === undefined) {
      fetching = this.#fetch(key, fetch).finally(() => this.#fetching.delete(key));
      this.#fetching.set(key, fetching);
    }
    try {
      return await fetching;
    } catch (thrown) {
      const error = toAssayError(thrown);
      const old = this.#svids.get(key)?.svid;
      if (isLoss(error)) this.#svids.delete(key);
      else if (old !== undefined && this.#now() < old.expiresAt - MARGIN_SECONDS) {
        this.#surroundings.onProblem(error);
        return old;
      }
      throw error;
    }
  }

  /** Forgets everything, what is being fetched included. */
  clear(): void {
    this.#generation++;
    this.#svids.clear();
    this.#fetching.clear();
  }

  async #fetch(key: string, fetch: () => Promise<WorkloadJwtSvid>): Promise<WorkloadJwtSvid> {
    const generation = this.#generation;
    const svid = await fetch();
    if (generation !== this.#generation) return svid;
    const from = Math.min(svid.issuedAt ?? this.#now(), this.#now());
    this.#svids.delete(key);
    this.#svids.set(key, { svid, freshUntil: from + (svid.expiresAt - from) / 2 });
    for (const oldest of this.#svids.keys()) {
      if (this.#svids.size <= MAX_SVIDS) break;
      this.#svids.delete(oldest);
    }
    return svid;
  }

  #now(): number {
    return unixSeconds(this.#surroundings.clock);
  }
}

/** Whether the Workload API says that the identity is gone; anything else says nothing about what it gave before. */
function isLoss({ code }: AssayError): boolean {
  return code === "NO_IDENTITY_ISSUED" || code === "AUTHORIZATION_DENIED";
}

const MAX_SVIDS = 1000;
const MARGIN_SECONDS = 5;
