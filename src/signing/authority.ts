import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";

/** An authority of this server that can sign: its journaled public half and its private key as a capability. */
export interface Authority {
  readonly record: AuthorityRecord;
  readonly key: ManagedKey;
}

/** How authorities of one kind stand in a bundle. Each edit gives the same object where there is nothing to do. */
export interface BundleEdits {
  /** The bundle with this authority in it. */
  publish(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle;
  /** The bundle with this authority, where it is in it, marked as tainted. */
  taint(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle;
  /** The bundle without this authority. */
  unpublish(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle;
}

/** The parts of an authority's life that differ between X.509, JWT and WIT. */
export interface AuthorityKind<A extends Authority> extends BundleEdits {
  readonly kind: AuthorityRecord["kind"];
  /**
   * The key manager's names for the two keys that take turns, and for a third one while one prepared before is replaced. A record
   * belongs to the line whose slot its key has.
   */
  readonly slots: readonly [string, string, string];
  /** Type of new keys. */
  readonly keyType: KeyType;
  /** A new authority of state `prepared` for a fresh key. `now` in Unix seconds. */
  found(key: ManagedKey, now: number): Promise<A>;
  /** The authority of a journaled record and its key, e.g. after a restart or with a new state. */
  revive(record: AuthorityRecord, key: ManagedKey): A;
  /**
   * For how many seconds a successor has to be known before it takes over from an authority that must not go on, though its
   * time is not up; `undefined` for one that may. Absent where time alone decides.
   */
  replaceAfter?(record: AuthorityRecord): number | undefined;
  /** Since when, in Unix seconds, what its SVIDs chain to is in the bundle; since it was prepared where absent. */
  knownSince?(record: AuthorityRecord): number;
}

/**
 * Why an authority stopped being prepared or active; `switched-off`: its line is no longer configured; `not-yet-valid`: it was
 * made while the clock was ahead.
 */
export type RetirementReason = "expired" | "key-missing" | "not-yet-valid" | "superseded" | "switched-off";

/** Something that happened to an authority, for the operator's log. */
export interface AuthorityEvent {
  /**
   * `continued`: found again after a restart; `prepared`: made and published; `activated`: signs from now on;
   * `tainted`: what it signed is to be replaced; `revoked`: out of the bundle before its end.
   */
  readonly event: "continued" | "prepared" | "activated" | "retired" | "tainted" | "revoked";
  /** Whether an operator asked for it; what comes of a schedule or of a start is nobody's wish. */
  readonly byOrder: boolean;
  readonly kind: AuthorityRecord["kind"];
  readonly authorityId: string;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Why, where it was retired. */
  readonly reason?: RetirementReason;
}

/** The signature algorithm of X.509 that goes with a key type. */
export function signingAlgorithmOf(type: KeyType): SigningAlgorithm {
  switch (type) {
    case "ec-p256":
      return "ecdsa-sha256";
    case "ec-p384":
      return "ecdsa-sha384";
    case "rsa-2048":
    case "rsa-4096":
      return "rsa-sha256";
  }
}
