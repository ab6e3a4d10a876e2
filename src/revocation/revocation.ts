/**
 * revocation/ — what was issued and is no longer good, in memory, and the lists that are made from it, as values.
 *
 * Must never know keys, signatures, HTTP or who is told: whoever signs and sends these lists stands above.
 * Called by issuance and by the server's composition; what it has in memory follows the store's change log.
 */
import { cautiousSeconds, type Clock, unixSeconds } from "../clock.ts";
import type { ChangeLog } from "../store/store.ts";
import { ChangeReader } from "../store/change-reader.ts";
import type { CredentialKind, CredentialRecord, CredentialStore } from "../store/task-store.ts";
import { credentialMemory } from "./credential-memory.ts";
import { ALL_BITS, RevokedTable, type RevokedToken } from "./revoked-table.ts";

/** What of a trust domain is revoked. */
export interface Revocation extends AsyncDisposable {
  /** Whether it is revoked, as far as this memory is; what expired some time ago is forgotten and counts as good. */
  isRevoked(kind: CredentialKind, id: string): boolean;
  /** The record of what is revoked. */
  find(kind: CredentialKind, id: string): CredentialRecord | undefined;
  /**
   * Revoked X509-SVIDs of one authority, in no particular order, kept for two hours after they expire, so that a list can
   * still name them then (RFC 5280 §3.3). The same array as before where nothing changed.
   */
  revokedX509(authorityId: string): readonly CredentialRecord[];
  /**
   * Revoked JWT-SVIDs and WIT-SVIDs, kept for five minutes after they expire. The same array as before where nothing
   * changed.
   */
  revokedTokens(): readonly RevokedToken[];
  /**
   * The octets of a status list of one bit each, 1 for revoked (Token Status List §4.1). The same array as before where
   * nothing changed.
   */
  statusBits(list: number): Uint8Array;
  /**
   * Revokes one credential and what was exchanged for it; memory shows it when the promise resolves. `unknown` says what
   * one is that was never written down; see `CredentialStore.revoke`.
   * @returns what was good before.
   * @throws AssayError `STORE_UNAVAILABLE`.
   */
  revoke(
    credential: { readonly kind: CredentialKind; readonly id: string },
    reason: string,
    unknown?: Omit<CredentialRecord, "revokedAt" | "reason" | "kind" | "id">,
  ): Promise<readonly CredentialRecord[]>;
  /** Calls the listener after something was revoked or forgotten, until disposed. It must not throw. */
  onChange(listener: () => void): Disposable;
  /** Brings memory at least to where the store is now. @throws AssayError `STORE_UNAVAILABLE`. */
  catchUp(): Promise<void>;
}

/** What revocation stands on. */
export interface RevocationOptions {
  readonly store: { readonly credentials: CredentialStore; readonly changes: ChangeLog };
  readonly clock: Clock;
  /** Status lists below this one say of every place that it is revoked: nobody knows what became of what has them. */
  readonly revokedLists?: number | undefined;
  /** Told when memory could not follow the store; it is tried again by itself. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}

/**
 * Opens revocation over a store, with everything that is revoked in memory.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openRevocation({
  store,
  clock,
  revokedLists = 0,
  onFault,
}: RevocationOptions): Promise<Revocation> {
  const table = new RevokedTable();
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  // Only added: what is revoked stays so until it is forgotten by its time.
  const take = (records: readonly CredentialRecord[]): void => {
    if (table.put(records)) tell();
  };
  const log = new ChangeReader(store.changes, credentialMemory(store.credentials, clock, take));
  await log.catchUp();
  table.forget(unixSeconds(clock));
  const past = cautiousSeconds(clock, MOST_FORGOTTEN);

  let closed = false;
  let retry: Disposable | undefined;
  let following: Promise<void> = Promise.resolve();
  const follow = (): void => {
    retry?.[Symbol.dispose]();
    retry = undefined;
    following = log.catchUp().catch((error: unknown) => {
      if (closed) return;
      onFault?.(error);
      retry ??= clock.schedule(RETRY_MS, follow);
    });
  };
  const subscription = store.changes.subscribe(follow);

  let sweep: Disposable;
  const sweepLater = (): void => {
    sweep = clock.schedule(SWEEP_MS, () => {
      if (table.forget(past())) tell();
      sweepLater();
    });
  };
  sweepLater();

  return {
    isRevoked: (kind, id) => table.find(kind, id) !== undefined,
    find: (kind, id) => table.find(kind, id),
    revokedX509: (authorityId) => table.x509(authorityId),
    revokedTokens: () => table.tokens(),
    statusBits: (list) => (list < revokedLists ? ALL_BITS : table.statusBits(list)),
    async revoke(credential, reason, unknown) {
      const at = unixSeconds(clock);
      const revoked = await store.credentials.revoke(credential, reason, at, unknown);
      take(revoked);
      return revoked;
    },
    onChange(listener) {
      const own = (): void => listener();
      listeners.add(own);
      return { [Symbol.dispose]: () => void listeners.delete(own) };
    },
    catchUp: () => log.catchUp(),
    async [Symbol.asyncDispose]() {
      closed = true;
      retry?.[Symbol.dispose]();
      sweep[Symbol.dispose]();
      subscription[Symbol.dispose]();
      listeners.clear();
      await following;
    },
  };
}

const RETRY_MS = 1000;
const SWEEP_MS = 30_000;
// Seconds: twice what passes between two sweeps.
const MOST_FORGOTTEN = 60;
