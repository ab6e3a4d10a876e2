import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/** What the server says about the entries and bundles of this agent: all of it, or what changed. */
export interface SyncUpdate {
  /** Whether this is a complete state that replaces everything known before. */
  readonly complete: boolean;
  readonly upserted: readonly WorkloadEntry[];
  /** Ids of entries. */
  readonly deleted: readonly string[];
  /** The own trust domain's bundle, where it changed. */
  readonly bundle?: SpiffeBundle;
  readonly federatedBundles: readonly SpiffeBundle[];
  readonly deletedFederatedBundles: readonly TrustDomain[];
  /** Revocation lists in DER by trust domain, all there are, where any changed. */
  readonly crls?: ReadonlyMap<TrustDomain, readonly Uint8Array[]>;
  /** Revoked tokens of the own trust domain, where there is word of any. */
  readonly revokedTokens?: RevokedTokensUpdate;
}

/** Word of revoked tokens. */
export interface RevokedTokensUpdate {
  /** Whether these are all there are, and replace those that were known; else they come on top of those. */
  readonly complete: boolean;
  /** By id, with the end of each in Unix seconds. */
  readonly ends: ReadonlyMap<string, number>;
}

/** What an update came to. */
export interface SyncEffect {
  /** Ids of entries that are new or have another revision. */
  readonly changed: readonly string[];
  /** Ids of entries that are gone. */
  readonly removed: readonly string[];
  readonly bundleChanged: boolean;
  readonly federatedBundlesChanged: boolean;
  /** Whether revocation lists came. */
  readonly crlsChanged: boolean;
  /** Whether word of revoked tokens came. */
  readonly revokedTokensChanged: boolean;
}
