import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import type { KeyType, ManagedKey } from "../plugin/key-manager.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";

/** An authority of this server that can sign: its journaled public half and its private key as a capability. */
export interface Authority {
  readonly record: AuthorityRecord;
  readonly key: ManagedKey;
}

/** The parts of an authority's life that differ between X.509 and JWT. */
export interface AuthorityKind<A extends Authority> {
  readonly kind: AuthorityRecord["kind"];
  /** The key manager's names for the two keys that take turns. */
  readonly slots: readonly [string, string];
  /** Type of new keys. */
  readonly keyType: KeyType;
  /** A new authority of state `prepared` for a fresh key. `now` in Unix seconds. */
  found(key: ManagedKey, now: number): Promise<A>;
  /** The authority of a journaled record and its key, e.g. after a restart or with a new state. */
  revive(record: AuthorityRecord, key: ManagedKey): A;
  /** The bundle with this authority in it; the same object where it is in it already. */
  publish(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle;
  /** The bundle without this authority; the same object where it is not in it. */
  unpublish(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle;
}

/** Why an authority stopped being prepared or active. */
export type RetirementReason = "expired" | "key-missing" | "superseded";

/** Something that happened to an authority, for the operator's log. */
export interface AuthorityEvent {
  /** `continued`: found again after a restart; `prepared`: made and published; `activated`: signs from now on. */
  readonly event: "continued" | "prepared" | "activated" | "retired";
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
