import type { SyncUpdate } from "../../src/agent/cache/sync-update.ts";
import type { ServerApi, WitRequest, X509Request } from "../../src/agent/link/server-api.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { WorkloadEntry } from "../../src/issuance/workload/workload-entry.ts";
import type { SpiffeId } from "../../src/spiffe/id.ts";
import type { FakeAuthority } from "./agent-authority.ts";

/** The server as the agent's parts see it, answering in the same turn; `failure` makes every call fail. */
export class FakeServerApi implements ServerApi {
  readonly entries = new Map<string, WorkloadEntry>();
  readonly batches: string[][] = [];
  readonly jwtCalls: string[] = [];
  readonly unsignable = new Set<string>();
  agentId: SpiffeId;
  failure: AssayError | undefined;
  svidTtl = 3600;
  jwtTtl = 300;
  attests = 0;
  renewals = 0;
  reattestable = false;
  polls = 0;
  /** What one watch says before it ends with the error. */
  watches: (() => AsyncIterable<SyncUpdate>)[] = [];
  #authority: FakeAuthority;

  constructor(authority: FakeAuthority, agentId: SpiffeId) {
    this.#authority = authority;
    this.agentId = agentId;
  }

  /** Lets another authority sign from now on. */
  signBy(authority: FakeAuthority): void {
    this.#authority = authority;
  }

  async attest(_type: string, _evidence: unknown, csr: Uint8Array) {
    this.attests += 1;
    this.#check();
    return { chain: this.#authority.issue(csr, this.agentId, this.svidTtl), reattestable: this.reattestable };
  }

  async renew(csr: Uint8Array) {
    this.renewals += 1;
    this.#check();
    return this.#authority.issue(csr, this.agentId, this.svidTtl);
  }

  async postStatus() {}

  watch(): AsyncIterable<SyncUpdate> {
    const next = this.watches.shift();
    if (next === undefined) throw new AssayError("SERVER_UNAVAILABLE", "no watch is prepared");
    return next();
  }

  async authorizedEntries() {
    this.polls += 1;
    this.#check();
    return [...this.entries.values()];
  }

  async bundle() {
    return this.#authority.bundle();
  }

  async federatedBundle() {
    return undefined;
  }

  async signX509(requests: readonly X509Request[]) {
    this.batches.push(requests.map(({ entryId }) => entryId));
    this.#check();
    return requests.map(({ entryId, csr }) => {
      const entry = this.entries.get(entryId);
      if (entry === undefined || this.unsignable.has(entryId)) {
        return { error: { code: 5, message: "entry not found or not authorized" } };
      }
      return { chain: this.#authority.issue(csr, entry.spiffeId, this.svidTtl) };
    });
  }

  async signWit(requests: readonly WitRequest[]) {
    this.#check();
    return requests.map(({ entryId, publicKey }) => {
      const entry = this.entries.get(entryId);
      if (entry === undefined) return { error: { code: 5, message: "entry not found or not authorized" } };
      return { token: this.#authority.witSvid(entry.spiffeId, publicKey, this.svidTtl) };
    });
  }

  async signJwt(entryId: string, audience: readonly string[]) {
    this.jwtCalls.push(`${entryId} ${audience.join(",")}`);
    this.#check();
    const entry = this.entries.get(entryId);
    if (entry === undefined) throw new AssayError("ENTRY_NOT_FOUND", "entry not found or not authorized");
    return this.#authority.jwtSvid(entry.spiffeId, audience, this.jwtTtl);
  }

  #check(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

/** A state that is all there is. */
export function completeUpdate(
  entries: readonly WorkloadEntry[],
  changes: Partial<SyncUpdate> = {},
): SyncUpdate {
  return {
    complete: true,
    upserted: entries,
    deleted: [],
    federatedBundles: [],
    deletedFederatedBundles: [],
    ...changes,
  };
}
