import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryRecord } from "../store/records.ts";
import { EntryDirectory } from "./entry-directory.ts";
import { NodeDirectory } from "./node-directory.ts";

/** What the registry holds in memory: all that is asked for on the way to an SVID, rebuilt from the store at any time. */
export interface Directory {
  readonly trustDomain: TrustDomain;
  readonly entries: EntryDirectory;
  readonly nodes: NodeDirectory;
  readonly bundles: Map<TrustDomain, SpiffeBundle>;
  /** Revocation lists in DER; trust domains without one are not in it. */
  readonly crls: Map<TrustDomain, readonly Uint8Array[]>;
}

/** An empty directory of one trust domain. */
export function emptyDirectory(trustDomain: TrustDomain): Directory {
  return {
    trustDomain,
    entries: new EntryDirectory(trustDomain),
    nodes: new NodeDirectory(),
    bundles: new Map(),
    crls: new Map(),
  };
}

/** Whether the entry earns nothing any more at this time (Unix seconds). */
export function hasExpired(entry: Pick<EntryRecord, "expiresAt">, now: number): boolean {
  return entry.expiresAt !== 0 && entry.expiresAt <= now;
}
