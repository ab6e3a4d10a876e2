import type { Selector } from "../spiffe/selector.ts";
import type { SpiffeId } from "../spiffe/id.ts";

/** A task as stored: one run, from the moment its evidence was taken. */
export interface TaskRecord {
  /** A UUID. */
  readonly id: string;
  /** Unique: the attestor's instance and its key of the run. */
  readonly key: string;
  /** Instance name of the task attestor. */
  readonly attestor: string;
  readonly platform: string;
  readonly issuer: string;
  readonly description: string;
  readonly granularity: "job" | "run";
  /** JWK thumbprint (RFC 7638, SHA-256, base64url) of the key that the job holds: the first one wins. */
  readonly keyThumbprint: string;
  readonly selectors: readonly Selector[];
  readonly guarded: readonly Selector[];
  readonly claims: Readonly<Record<string, string>>;
  readonly authoredClaims: readonly string[];
  /** `ending`: nothing is issued any more, and its SVIDs are revoked but perhaps not everybody was told. */
  readonly state: "active" | "ending" | "ended";
  /** Unix seconds. */
  readonly openedAt: number;
  /** How long a heartbeat is good for, seconds. */
  readonly lease: number;
  /** Unix seconds. */
  readonly leaseExpiresAt: number;
  /** Nothing keeps it alive beyond this, Unix seconds. */
  readonly hardEnd: number;
  /** When it stopped being active, Unix seconds; 0 before. */
  readonly endedAt: number;
  readonly endReason: TaskEndReason | "";
  readonly ordinal: number;
}

/** Who or what ended a task. */
export type TaskEndReason = "job" | "lease" | "cap" | "operator" | "platform";

/** A task to open; the store adds its ordinal and its state. */
export type NewTask = Omit<TaskRecord, "ordinal" | "state" | "endedAt" | "endReason">;

/**
 * What became of an attempt to open a task. `replayed`: the evidence was used before. `otherKey`: the run has a task
 * with another key. `over`: the run's task has ended. In all but `replayed` the evidence is used up.
 */
export type TaskOpening =
  | { readonly outcome: "opened" | "resumed" | "otherKey" | "over"; readonly task: TaskRecord }
  | { readonly outcome: "replayed" };

/** Tasks, and the evidence that was used for them. */
export interface TaskStore {
  /**
   * Uses up the evidence and opens the task of its key, or finds it, in one transaction: of any number of parallel
   * calls with one replay key all but one are told `replayed`.
   */
  open(task: NewTask, evidence: { readonly replayKey: string; readonly until: number }): Promise<TaskOpening>;
  /**
   * Extends the lease, never beyond `hardEnd` nor backwards; `undefined` where the task is not active. An extension that
   * changes nothing is no change.
   */
  extend(id: string, leaseExpiresAt: number): Promise<TaskRecord | undefined>;
  /**
   * Makes an active task `ending` and revokes all that was issued to it, and all that was exchanged for that, in one
   * transaction; what had expired five minutes before is left as it is. `undefined` where the task is not active. `at` in
   * Unix seconds.
   * @returns what was good before, as it is now.
   */
  end(
    id: string,
    reason: TaskEndReason,
    at: number,
  ): Promise<{ readonly task: TaskRecord; readonly revoked: readonly CredentialRecord[] } | undefined>;
  /** Makes an `ending` task `ended`. */
  close(id: string): Promise<void>;
  get(id: string): Promise<TaskRecord | undefined>;
  /** Tasks that are not `ended`, in order. */
  live(): Promise<readonly TaskRecord[]>;
  /** Tasks before this ordinal (0 for the newest), newest first, at most `limit` (1 to 10,000). */
  list(beforeOrdinal: number, limit: number): Promise<readonly TaskRecord[]>;
  /**
   * Forgets evidence that could not be shown any more at this time (Unix seconds) and tasks that ended before it; gives
   * their number. A run whose task was forgotten can open another.
   */
  prune(before: number): Promise<number>;
}

/** What kind of thing was issued. */
export type CredentialKind = "x509" | "jwt" | "wit" | "access_token";

/**
 * Something that was issued and can end early. Written for tasks and exchanged tokens when they are issued, for others
 * when they are revoked.
 */
export interface CredentialRecord {
  readonly kind: CredentialKind;
  /** X.509: serial number in lower-case hex. Tokens: the token id, as in the audit log. */
  readonly id: string;
  /** The authority that signed: subject key id or `kid`. */
  readonly authorityId: string;
  readonly spiffeId: SpiffeId;
  /** Empty where there is none. */
  readonly entryId: string;
  /** Empty where it is no task's. */
  readonly taskId: string;
  /** `kind:id` of the token or SVID that it was exchanged for; empty where it was not. */
  readonly parent: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Its place in a status list (Token Status List §5), where it has one. */
  readonly status?: StatusPlace;
  /** Unix seconds; 0 while it is good. */
  readonly revokedAt: number;
  /** Why, in a word; empty while it is good. */
  readonly reason: string;
}

/** A place in a status list. */
export interface StatusPlace {
  /** Number of the list, from 0. */
  readonly list: number;
  readonly index: number;
}

/** Issued credentials that can end early. */
export interface CredentialStore {
  /**
   * Writes down what was issued, all of it or nothing. Nothing is written where the task of one is not active any more, or
   * what one was exchanged for is revoked.
   * @returns whether it was; nothing may leave that was not.
   */
  record(credentials: readonly Omit<CredentialRecord, "revokedAt" | "reason">[]): Promise<boolean>;
  /**
   * Takes a free place in a status list, unguessable within the list: one of 2^17, of which at most half are taken. A place
   * is free again when `prune` is called with a time after `expiresAt` (Unix seconds).
   */
  reserveStatus(expiresAt: number): Promise<StatusPlace>;
  /** How many status lists were begun; they are numbered from 0 without a gap, and stay. */
  statusLists(): Promise<number>;
  /**
   * Revokes one credential and what was exchanged for it, step by step. One that was never written is written now, as
   * `unknown` says; without `unknown` only what was exchanged for it is revoked. What had expired five minutes before `at`
   * (Unix seconds) is left as it is.
   * @returns what was good before, as it is now.
   */
  revoke(
    credential: { readonly kind: CredentialKind; readonly id: string },
    reason: string,
    at: number,
    unknown?: Omit<CredentialRecord, "revokedAt" | "reason" | "kind" | "id">,
  ): Promise<readonly CredentialRecord[]>;
  get(kind: CredentialKind, id: string): Promise<CredentialRecord | undefined>;
  /** All of one task, in the order of writing. */
  ofTask(taskId: string): Promise<readonly CredentialRecord[]>;
  /** What is revoked and had not expired at this time, Unix seconds, in the order of writing. */
  revoked(notExpiredAt: number): Promise<readonly CredentialRecord[]>;
  /** Forgets what expired before this time (Unix seconds), and frees its places in status lists; gives its number. */
  prune(before: number): Promise<number>;
}
