/**
 * store/ — everything the issuer must not forget, behind one contract and one folder per kind of database.
 *
 * Must never know what its rows mean: no matching, no policy, no signing, no wire format.
 * Called by registry, signing, attestation and the server's composition.
 */
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type {
  AuthorityRecord,
  ChangeRecord,
  CrlRecord,
  EntryContent,
  EntryRecord,
  FederationRelationshipRecord,
  JoinTokenRecord,
  JoinTokenUse,
  NodeRecord,
  RestoreRecord,
  StoreFacts,
} from "./records.ts";
import type { CredentialStore, TaskStore } from "./task-store.ts";

/**
 * The store of one trust domain. Every promise that resolves after a write resolves when the write is durable; a
 * write that rejects has left nothing behind. Every method may throw `STORE_UNAVAILABLE` (full disk, read-only
 * folder, lost connection); it says so once more under each method only where the method adds a code of its own.
 */
export interface Store extends AsyncDisposable {
  readonly entries: EntryStore;
  readonly nodes: NodeStore;
  readonly joinTokens: JoinTokenStore;
  readonly authorities: AuthorityStore;
  readonly federation: FederationStore;
  readonly bundles: BundleStore;
  readonly crls: CrlStore;
  readonly tasks: TaskStore;
  readonly credentials: CredentialStore;
  readonly changes: ChangeLog;
  readonly backups: BackupStore;
  /** Proves that the store can be written and read now. */
  check(): Promise<void>;
}

/** Registration entries. */
export interface EntryStore {
  /**
   * Creates entries in one transaction, in order, each with its own outcome: a new record, the existing record with
   * the same SPIFFE ID, parent ID and selectors (`similar`), the existing record with the same id (`conflict`), or
   * the first trust domain it federates with whose bundle is not there (`unknownBundle`).
   * @throws AssayError `AGENT_NOT_FOUND` where an `ownerNode` does not exist; nothing of the batch is written.
   */
  create(entries: readonly NewEntry[]): Promise<readonly EntryCreation[]>;
  /**
   * Replaces contents in one transaction; revision grows by one. `absent` for an id that does not exist; `similar`
   * where the new content equals another entry's identity, `unknownBundle` as for `create`.
   */
  update(updates: readonly EntryUpdate[]): Promise<readonly EntryUpdateOutcome[]>;
  /** Deletes in one transaction; tells for each id whether it was there. */
  delete(ids: readonly string[]): Promise<readonly boolean[]>;
  /** Deletes entries that expired before this time (Unix seconds); gives their ids. */
  deleteExpired(before: number): Promise<readonly string[]>;
  /** The entries with these ids, in the order of the ids; those that do not exist are left out. */
  get(ids: readonly string[]): Promise<readonly EntryRecord[]>;
  /** Entries after this ordinal, in order, at most `limit` (1 to 10,000). */
  list(afterOrdinal: number, limit: number): Promise<readonly EntryRecord[]>;
}

/** An entry to create: its content, its id and its time of creation in Unix seconds. */
export interface NewEntry {
  readonly id: string;
  readonly createdAt: number;
  readonly content: EntryContent;
  /** The node whose join token's alias the entry is; it goes when the node is deleted. */
  readonly ownerNode?: SpiffeId;
}

/** A new content for an entry; with `revision` only if that is still the stored one. */
export interface EntryUpdate {
  readonly id: string;
  readonly content: EntryContent;
  readonly revision?: number;
}

/** What became of one creation. */
export type EntryCreation =
  | { readonly outcome: "created" | "similar" | "conflict"; readonly entry: EntryRecord }
  | { readonly outcome: "unknownBundle"; readonly trustDomain: TrustDomain };

/** What became of one update. */
export type EntryUpdateOutcome =
  | { readonly outcome: "updated" | "similar" | "stale"; readonly entry: EntryRecord }
  | { readonly outcome: "unknownBundle"; readonly trustDomain: TrustDomain }
  | { readonly outcome: "absent" };

/** Attested nodes. */
export interface NodeStore {
  /** Writes the node as it stands after an attestation, new or again. Fails with `AGENT_BANNED` if it is banned. */
  attested(node: Omit<NodeRecord, "ordinal" | "banned">): Promise<NodeRecord>;
  /** Changes single fields; `undefined` if there is no such node. */
  update(id: SpiffeId, change: NodeChange): Promise<NodeRecord | undefined>;
  /** Makes a pending serial the active one; `undefined` if it is not (or no longer) the pending one. */
  activatePending(id: SpiffeId, serial: string): Promise<NodeRecord | undefined>;
  /** Deletes nodes and, with each, the entries that its join token's alias made; tells which were there. */
  delete(ids: readonly SpiffeId[]): Promise<readonly boolean[]>;
  /** The nodes with these IDs, in the order of the IDs; those that do not exist are left out. */
  get(ids: readonly SpiffeId[]): Promise<readonly NodeRecord[]>;
  /** Nodes after this ordinal, in order, at most `limit` (1 to 10,000). */
  list(afterOrdinal: number, limit: number): Promise<readonly NodeRecord[]>;
}

/** Fields of a node that change without an attestation. */
export type NodeChange = Partial<
  Pick<NodeRecord, "banned" | "serial" | "expiresAt" | "pendingSerial" | "pendingExpiresAt" | "agentVersion">
>;

/** Join tokens. */
export interface JoinTokenStore {
  /** @throws AssayError `ALREADY_EXISTS` where the same token was made before and has not been pruned. */
  create(token: JoinTokenRecord): Promise<void>;
  /** Uses up a token: of any number of parallel calls with one hash exactly one is told `consumed`. `now` in Unix seconds. */
  consume(hash: string, now: number): Promise<JoinTokenUse>;
  /** Forgets tokens that expired before this time (Unix seconds), used or not; gives their number. */
  prune(before: number): Promise<number>;
}

/** The journal of authorities, and the trust domain's own bundle that follows from it. */
export interface AuthorityStore {
  list(): Promise<readonly AuthorityRecord[]>;
  /**
   * Writes authorities and the own bundle in one transaction. `edit` gets the stored bundle (empty with sequence 0
   * at first) and gives its new content; the store sets the next sequence if the content differs, and keeps the
   * sequence if it does not. `edit` is pure and may run again.
   */
  commit(
    change: { readonly put?: readonly AuthorityRecord[]; readonly delete?: readonly string[] },
    edit: (bundle: SpiffeBundle) => SpiffeBundle,
  ): Promise<SpiffeBundle>;
}

/** Bundles by trust domain: the own one, written through `AuthorityStore`, and the federated ones. */
export interface BundleStore {
  get(trustDomain: TrustDomain): Promise<SpiffeBundle | undefined>;
  list(): Promise<readonly SpiffeBundle[]>;
  /**
   * Writes a federated bundle as it is given; a bundle equal to the stored one is no change. Modes: `create` throws
   * `ALREADY_EXISTS`, `update` `BUNDLE_NOT_FOUND`.
   * @throws AssayError `INVALID_BUNDLE` for the own trust domain.
   */
  put(bundle: SpiffeBundle, mode: "create" | "update" | "set"): Promise<SpiffeBundle>;
  /**
   * Deletes a federated bundle. Entries that name it: `restrict` throws `BUNDLE_IN_USE`, `dissociate` takes the name
   * out of them (their revision grows), `delete` deletes them. All in one transaction.
   * @throws AssayError `BUNDLE_NOT_FOUND`, `INVALID_BUNDLE` for the own trust domain.
   */
  delete(trustDomain: TrustDomain, mode: "restrict" | "dissociate" | "delete"): Promise<void>;
}

/** Revocation lists: the newest of each X.509 authority that has one. */
export interface CrlStore {
  /** All lists, by trust domain and authority. */
  list(): Promise<readonly CrlRecord[]>;
  /** Writes a list in place of its authority's older one; a list equal to the stored one is no change. */
  put(list: CrlRecord): Promise<void>;
  /** Deletes an authority's list; tells whether there was one. */
  delete(trustDomain: TrustDomain, authorityKeyId: string): Promise<boolean>;
}

/**
 * Relationships with foreign trust domains. A bundle that comes with one is set in the same transaction; the bundle of
 * a trust domain outlives the relationship with it.
 */
export interface FederationStore {
  get(trustDomain: TrustDomain): Promise<FederationRelationshipRecord | undefined>;
  /** Relationships after this trust domain (empty for the first), in their order, at most `limit` (1 to 10,000). */
  list(afterTrustDomain: string, limit: number): Promise<readonly FederationRelationshipRecord[]>;
  /** @throws AssayError `ALREADY_EXISTS`; `INVALID_RELATIONSHIP` for the own trust domain. */
  create(
    relationship: FederationRelationshipRecord,
    bundle?: SpiffeBundle,
  ): Promise<FederationRelationshipRecord>;
  /** Changes what is given; a change to what is stored already is none. @throws AssayError `RELATIONSHIP_NOT_FOUND`. */
  update(
    trustDomain: TrustDomain,
    change: Partial<Omit<FederationRelationshipRecord, "trustDomain">>,
    bundle?: SpiffeBundle,
  ): Promise<FederationRelationshipRecord>;
  /** @throws AssayError `RELATIONSHIP_NOT_FOUND`. */
  delete(trustDomain: TrustDomain): Promise<void>;
}

/** Copies of the store, and what is left to do where it is one that was put back. */
export interface BackupStore {
  /**
   * Copies the store as it is at one moment to a new file, while others write. Never holds writers up.
   * @throws AssayError `STORE_UNAVAILABLE`; no file is left then.
   */
  copyTo(path: string): Promise<StoreFacts>;
  /** The last time that this store was restored; `undefined` where it never was. */
  restored(): Promise<RestoreRecord | undefined>;
  /** Notes that something of the last restore is done; nothing where there was none. */
  settle(change: Partial<Pick<RestoreRecord, "authorities" | "told">>): Promise<void>;
}

/** The one ordered log of what changed. */
export interface ChangeLog {
  /** Sequence of the newest row ever written, forgotten or not; 0 where there never was one. */
  latest(): Promise<number>;
  /**
   * Rows after this sequence in order, at most `limit` (1 to 10,000). `undefined` where rows after it have been
   * forgotten: a reader that far behind has to read everything anew.
   */
  since(sequence: number, limit: number): Promise<readonly ChangeRecord[] | undefined>;
  /** Calls the listener soon after rows were added, by this process or another. Calls may coincide into one. */
  subscribe(listener: () => void): Disposable;
  /** Forgets rows up to this sequence. */
  prune(upTo: number): Promise<void>;
}
