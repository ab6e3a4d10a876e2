/**
 * agent/cache/ — what the agent holds for its workloads: entries, bundles, SVIDs, and how they stay fresh.
 *
 * Must never know who asks for them, nor on which protocol.
 * Called by the agent's composition, its sync and its Workload API.
 */
import type { Clock } from "../../clock.ts";
import type { AssayError } from "../../errors/assay-error.ts";
import type { Log } from "../../observe/log.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { WitSvid } from "../../spiffe/svid.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { ServerApi } from "../link/server-api.ts";
import { ChangeBell } from "./change-bell.ts";
import { EntryTable, type FollowingIndex } from "./entry-table.ts";
import { JwtCache } from "./jwt-cache.ts";
import { revokedCertificates } from "./revoked-svids.ts";
import type { Spread } from "./rotation.ts";
import type { SyncEffect, SyncUpdate } from "./sync-update.ts";
import { SvidCache } from "./svid-cache.ts";
import { witSvidKind } from "./wit-signing.ts";
import { type SignedX509Svid, type WorkloadKeyType, x509SvidKind } from "./x509-signing.ts";

/** What the cache needs. */
export interface AgentCacheOptions {
  readonly trustDomain: TrustDomain;
  readonly signer: Pick<ServerApi, "signX509" | "signJwt" | "signWit">;
  readonly index: FollowingIndex;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  readonly keyType: WorkloadKeyType;
  /** The agent's own SPIFFE ID, once it has attested. */
  readonly agentId: () => SpiffeId | undefined;
  /** JWT-SVIDs kept at most. */
  readonly maxJwtSvids: number;
  /** Told of each failed call to the server. */
  readonly onError: (error: AssayError) => void;
}

/** Everything the agent holds for its workloads. */
export class AgentCache implements Disposable {
  readonly table: EntryTable;
  readonly x509: SvidCache<SignedX509Svid>;
  readonly wit: SvidCache<WitSvid>;
  readonly jwt: JwtCache;
  /** Rings after anything changed that an answer is made from. */
  readonly bell = new ChangeBell();
  readonly #clock: Clock;
  #expiry: Disposable | undefined;
  #synchronised = false;

  constructor(options: AgentCacheOptions) {
    const { signer, clock, spread, log, onError } = options;
    const onChange = () => this.bell.ring();
    this.#clock = clock;
    this.table = new EntryTable(options.trustDomain, options.index, clock);
    const common = {
      clock,
      spread,
      log,
      onChange,
      onError,
      entry: (id: string) => this.table.entries.get(id),
    };
    this.x509 = new SvidCache({ ...common, kind: x509SvidKind(signer, options.keyType) });
    this.wit = new SvidCache({ ...common, kind: witSvidKind({ ...options, signer, clock }) });
    this.jwt = new JwtCache({
      signer,
      clock,
      spread,
      revoked: this.table.revokedTokens,
      onChange,
      onError,
      maxSize: options.maxJwtSvids,
    });
  }

  /** Whether entries are known, from the server or from an earlier run; before that no workload may be refused. */
  get synchronised(): boolean {
    return this.#synchronised;
  }

  /** Takes over what the server says, and makes the SVIDs follow. */
  apply(update: SyncUpdate): SyncEffect {
    const effect = this.table.apply(update);
    this.#synchronised ||= update.complete;
    // What an entry no longer says must not be served for another instant, so this comes before any signing.
    this.jwt.forget([...effect.removed, ...effect.changed]);
    if (effect.bundleChanged) this.jwt.follow(this.table.bundle);
    if (effect.revokedTokensChanged) this.#dropRevokedTokens();
    for (const svids of [this.x509, this.wit]) {
      svids.follow(effect.changed, effect.removed);
      if (effect.bundleChanged) svids.replaceTainted(this.table.bundle);
    }
    if (effect.crlsChanged) {
      const { bundle, crls } = this.table;
      this.x509.replaceRevoked(revokedCertificates(crls.get(bundle.trustDomain) ?? []));
    }
    this.#watchExpiry();
    this.bell.ring();
    return effect;
  }

  #dropRevokedTokens(): void {
    const { revokedTokens } = this.table;
    this.jwt.forgetRevoked();
    this.wit.replaceRevoked(({ jti }) => jti !== undefined && revokedTokens.has(jti));
  }

  [Symbol.dispose](): void {
    this.#expiry?.[Symbol.dispose]();
    this.table.revokedTokens[Symbol.dispose]();
    this.x509[Symbol.dispose]();
    this.wit[Symbol.dispose]();
    this.jwt[Symbol.dispose]();
  }

  #watchExpiry(): void {
    this.#expiry?.[Symbol.dispose]();
    const now = this.#clock.now();
    const next = this.table.nextExpiry(now);
    if (next === Number.POSITIVE_INFINITY) return;
    this.#expiry = this.#clock.schedule(next - now, () => {
      this.bell.ring();
      this.#watchExpiry();
    });
  }
}
