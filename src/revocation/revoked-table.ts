import { statusBitsOf } from "../crypto/jose/status-list.ts";
import type { CredentialKind, CredentialRecord } from "../store/task-store.ts";

/**
 * For how many seconds after its end a revoked X509-SVID is kept. A list that is signed anew every half hour has named it
 * after its end by then.
 */
export const X509_KEPT = 2 * 3600;

/** A revoked token, as those are told who look at tokens. */
export interface RevokedToken {
  /** Its `jti`, else the SHA-256 of its signing input in lower-case hex. */
  readonly id: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** What is revoked, by name, by authority and by place in a status list. Views are made when they are asked for and kept. */
export class RevokedTable {
  readonly #byName = new Map<string, CredentialRecord>();
  readonly #byAuthority = new Map<string, Map<string, CredentialRecord>>();
  readonly #byList = new Map<number, Map<number, CredentialRecord>>();
  readonly #x509Views = new Map<string, readonly CredentialRecord[]>();
  readonly #listViews = new Map<number, Uint8Array>();
  #tokensView: readonly RevokedToken[] | undefined;

  find(kind: CredentialKind, id: string): CredentialRecord | undefined {
    return this.#byName.get(`${kind}:${id}`);
  }

  /** Takes over what is revoked; what is good is passed over. Tells whether any of it was news. */
  put(records: readonly CredentialRecord[]): boolean {
    let changed = false;
    for (const record of records) {
      const name = nameOf(record);
      if (record.revokedAt === 0 || this.#byName.has(name)) continue;
      this.#byName.set(name, record);
      if (record.kind === "x509") {
        entryOf(this.#byAuthority, record.authorityId).set(record.id, record);
        this.#x509Views.delete(record.authorityId);
      } else if (isSvidToken(record)) this.#tokensView = undefined;
      if (record.status !== undefined) {
        entryOf(this.#byList, record.status.list).set(record.status.index, record);
        this.#listViews.delete(record.status.list);
      }
      changed = true;
    }
    return changed;
  }

  /** Forgets what has expired for long enough at this time, Unix seconds; tells whether there was any. */
  forget(now: number): boolean {
    let changed = false;
    for (const [name, record] of this.#byName) {
      const { kind, authorityId, id, status } = record;
      if (record.expiresAt + (kind === "x509" ? X509_KEPT : TOKENS_KEPT) > now) continue;
      this.#byName.delete(name);
      if (kind === "x509") {
        this.#byAuthority.get(authorityId)?.delete(id);
        if (this.#byAuthority.get(authorityId)?.size === 0) this.#byAuthority.delete(authorityId);
        this.#x509Views.delete(authorityId);
      } else if (isSvidToken(record)) this.#tokensView = undefined;
      const places = status === undefined ? undefined : this.#byList.get(status.list);
      // The place may be another's by now.
      if (status !== undefined && places?.get(status.index) === record) {
        places.delete(status.index);
        if (places.size === 0) this.#byList.delete(status.list);
        this.#listViews.delete(status.list);
      }
      changed = true;
    }
    return changed;
  }

  x509(authorityId: string): readonly CredentialRecord[] {
    const known = this.#x509Views.get(authorityId);
    if (known !== undefined) return known;
    const records = this.#byAuthority.get(authorityId);
    if (records === undefined) return NONE;
    const view = [...records.values()];
    this.#x509Views.set(authorityId, view);
    return view;
  }

  tokens(): readonly RevokedToken[] {
    this.#tokensView ??= [...this.#byName.values()]
      .filter(isSvidToken)
      .map(({ id, expiresAt }) => ({ id, expiresAt }));
    return this.#tokensView;
  }

  statusBits(list: number): Uint8Array {
    const places = this.#byList.get(list);
    if (places === undefined) return NO_BITS;
    let view = this.#listViews.get(list);
    if (view === undefined) {
      view = statusBitsOf(places.keys(), STATUS_LIST_SIZE);
      this.#listViews.set(list, view);
    }
    return view;
  }
}

function nameOf({ kind, id }: CredentialRecord): string {
  return `${kind}:${id}`;
}

function isSvidToken({ kind }: CredentialRecord): boolean {
  return kind === "jwt" || kind === "wit";
}

function entryOf<Key, Inner, Value>(maps: Map<Key, Map<Inner, Value>>, key: Key): Map<Inner, Value> {
  let map = maps.get(key);
  if (map === undefined) {
    map = new Map();
    maps.set(key, map);
  }
  return map;
}

const NONE: readonly CredentialRecord[] = [];
// Places in a status list, as the store gives them out.
const STATUS_LIST_SIZE = 2 ** 17;
const NO_BITS = statusBitsOf([], STATUS_LIST_SIZE);

/** The octets of a status list of which every place is revoked. */
export const ALL_BITS: Uint8Array = new Uint8Array(STATUS_LIST_SIZE / 8).fill(0xff);
// More than any verifier's clock is off.
const TOKENS_KEPT = 300;
