import type { Clock } from "../../clock.ts";
import type { WorkloadEntry, WorkloadEntryIndex } from "../../issuance/workload/workload-entry.ts";
import {
  emptyBundle,
  type JwtAuthorityKey,
  type SpiffeBundle,
  type X509AuthorityCertificate,
} from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { RevokedTokens } from "./revoked-tokens.ts";
import type { SyncEffect, SyncUpdate } from "./sync-update.ts";

/** An index of entries that follows them. */
export interface FollowingIndex extends WorkloadEntryIndex {
  put(entry: WorkloadEntry): void;
  delete(id: string): void;
}

/** The entries and bundles of this agent as the server last told them. */
export class EntryTable {
  readonly #entries = new Map<string, WorkloadEntry>();
  readonly #federated = new Map<TrustDomain, SpiffeBundle>();
  readonly #index: FollowingIndex;
  #bundle: SpiffeBundle;
  #crls: ReadonlyMap<TrustDomain, readonly Uint8Array[]> = new Map();
  #version = 0;

  /** Tokens of the own trust domain that are revoked. */
  readonly revokedTokens: RevokedTokens;

  constructor(trustDomain: TrustDomain, index: FollowingIndex, clock: Clock) {
    this.revokedTokens = new RevokedTokens(clock);
    this.#bundle = emptyBundle(trustDomain);
    this.#index = index;
  }

  /** Grows with every change of an entry: what was matched under another version may be out of date. */
  get version(): number {
    return this.#version;
  }

  get entries(): ReadonlyMap<string, WorkloadEntry> {
    return this.#entries;
  }

  get index(): WorkloadEntryIndex {
    return this.#index;
  }

  /** The own trust domain's bundle. */
  get bundle(): SpiffeBundle {
    return this.#bundle;
  }

  /** Foreign bundles by trust domain. */
  get federated(): ReadonlyMap<TrustDomain, SpiffeBundle> {
    return this.#federated;
  }

  /** Revocation lists in DER by trust domain; the same arrays as before where nothing changed. */
  get crls(): ReadonlyMap<TrustDomain, readonly Uint8Array[]> {
    return this.#crls;
  }

  /** When the next entry expires, Unix milliseconds; infinite where none will. */
  nextExpiry(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { expiresAt } of this.#entries.values()) {
      if (expiresAt > 0 && expiresAt * 1000 > now) next = Math.min(next, expiresAt * 1000);
    }
    return next;
  }

  /** Takes an update over and says what it changed. */
  apply(update: SyncUpdate): SyncEffect {
    const removed = new Set(update.deleted.filter((id) => this.#entries.has(id)));
    if (update.complete) {
      const kept = new Set(update.upserted.map(({ id }) => id));
      for (const id of this.#entries.keys()) if (!kept.has(id)) removed.add(id);
    }
    for (const id of removed) this.#delete(id);
    const changed: string[] = [];
    for (const entry of update.upserted) if (this.#put(entry)) changed.push(entry.id);
    if (changed.length + removed.size > 0) this.#version += 1;
    const crlsChanged = update.crls !== undefined && update.crls !== this.#crls;
    if (update.crls !== undefined) this.#crls = update.crls;
    if (update.revokedTokens !== undefined) this.revokedTokens.apply(update.revokedTokens);
    return {
      crlsChanged,
      revokedTokensChanged: update.revokedTokens !== undefined,
      changed,
      removed: [...removed],
      bundleChanged: update.bundle !== undefined && this.#setBundle(update.bundle),
      federatedBundlesChanged: this.#applyFederated(update),
    };
  }

  #put(entry: WorkloadEntry): boolean {
    const known = this.#entries.get(entry.id);
    if (known?.revision === entry.revision && known.createdAt === entry.createdAt) return false;
    if (known !== undefined) this.#index.delete(entry.id);
    this.#entries.set(entry.id, entry);
    this.#index.put(entry);
    return true;
  }

  #delete(id: string): void {
    this.#entries.delete(id);
    this.#index.delete(id);
  }

  #setBundle(bundle: SpiffeBundle): boolean {
    // A bundle of another trust domain would be a way to have foreign authorities trusted as our own.
    if (bundle.trustDomain !== this.#bundle.trustDomain || sameBundle(bundle, this.#bundle)) return false;
    this.#bundle = bundle;
    return true;
  }

  #applyFederated(update: SyncUpdate): boolean {
    let changed = false;
    const gone = new Set(update.deletedFederatedBundles);
    if (update.complete) {
      const kept = new Set(update.federatedBundles.map(({ trustDomain }) => trustDomain));
      for (const trustDomain of this.#federated.keys()) if (!kept.has(trustDomain)) gone.add(trustDomain);
    }
    for (const trustDomain of gone) changed = this.#federated.delete(trustDomain) || changed;
    for (const bundle of update.federatedBundles) {
      const known = this.#federated.get(bundle.trustDomain);
      if (bundle.trustDomain === this.#bundle.trustDomain) continue;
      if (known !== undefined && sameBundle(bundle, known)) continue;
      this.#federated.set(bundle.trustDomain, bundle);
      changed = true;
    }
    return changed;
  }
}

/** Whether two bundles say the same, sequence and refresh hint apart. */
export function sameBundle(a: SpiffeBundle, b: SpiffeBundle): boolean {
  return (
    sameX509Authorities(a.x509Authorities, b.x509Authorities) &&
    sameKeys(a.jwtAuthorities, b.jwtAuthorities) &&
    sameKeys(a.witAuthorities, b.witAuthorities)
  );
}

/** Whether two lists hold the same X.509 authorities in the same order. */
export function sameX509Authorities(
  a: readonly X509AuthorityCertificate[],
  b: readonly X509AuthorityCertificate[],
): boolean {
  return (
    a.length === b.length &&
    a.every((left, i) => {
      const right = b[i];
      return right?.tainted === left.tainted && Buffer.compare(left.certificate, right.certificate) === 0;
    })
  );
}

/** Whether two lists hold the same token keys in the same order. */
export function sameKeys(a: readonly JwtAuthorityKey[], b: readonly JwtAuthorityKey[]): boolean {
  return (
    a.length === b.length &&
    a.every((left, i) => {
      const right = b[i];
      return (
        right?.keyId === left.keyId &&
        right.tainted === left.tainted &&
        right.expiresAt === left.expiresAt &&
        Buffer.compare(left.publicKey, right.publicKey) === 0
      );
    })
  );
}
