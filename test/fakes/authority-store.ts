import { AssayError } from "../../src/errors/assay-error.ts";
import type { SigningDependencies } from "../../src/signing/open-signing.ts";
import { emptyBundle, type SpiffeBundle } from "../../src/spiffe/bundle.ts";
import type { TrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { AuthorityRecord, ChangeRecord } from "../../src/store/records.ts";

/** The part of a store that signing uses, in memory; it can be told to fail. Any number of servers may share it. */
export class FakeAuthorityStore {
  readonly records = new Map<string, AuthorityRecord>();
  /** Number of commits that will still succeed. */
  commitsLeft = Number.POSITIVE_INFINITY;
  readable = true;
  #bundle: SpiffeBundle;
  #rows: ChangeRecord[] = [];
  #sequence = 0;
  #forgotten = 0;
  readonly #listeners = new Set<() => void>();

  constructor(trustDomain: TrustDomain) {
    this.#bundle = emptyBundle(trustDomain);
  }

  get bundle(): SpiffeBundle {
    return this.#bundle;
  }

  /** How many parties listen to changes. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** As if another server had written this bundle content. Tells nobody if `silent`. */
  write(edit: (bundle: SpiffeBundle) => SpiffeBundle, silent = false): void {
    this.#bundle = { ...edit(this.#bundle), sequence: this.#bundle.sequence + 1n };
    this.#note("bundle", this.#bundle.trustDomain);
    if (!silent) this.notify();
  }

  notify(): void {
    for (const listener of this.#listeners) listener();
  }

  forget(): void {
    this.#forgotten = this.#sequence;
    this.#rows = [];
  }

  readonly authorities: SigningDependencies["store"]["authorities"] = {
    list: async () => {
      this.#checkReadable();
      return [...this.records.values()];
    },
    commit: async (change, edit) => {
      if (this.commitsLeft-- <= 0) throw new AssayError("STORE_UNAVAILABLE", "no space left");
      const edited = edit(this.#bundle);
      for (const record of change.put ?? []) {
        this.records.set(record.id, record);
        this.#note("authority", record.id);
      }
      for (const id of change.delete ?? []) this.records.delete(id);
      if (edited !== this.#bundle) {
        this.#bundle = { ...edited, sequence: this.#bundle.sequence + 1n };
        this.#note("bundle", edited.trustDomain);
      }
      this.notify();
      return this.#bundle;
    },
  };

  readonly bundles: SigningDependencies["store"]["bundles"] = {
    get: async () => {
      this.#checkReadable();
      return this.#bundle.sequence === 0n ? undefined : this.#bundle;
    },
  };

  readonly changes: SigningDependencies["store"]["changes"] = {
    latest: async () => this.#sequence,
    since: async (sequence, limit) => {
      this.#checkReadable();
      if (sequence < this.#forgotten) return undefined;
      return this.#rows.filter((row) => row.sequence > sequence).slice(0, limit);
    },
    subscribe: (listener) => {
      const own = () => listener();
      this.#listeners.add(own);
      return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
    },
  };

  #note(kind: ChangeRecord["kind"], key: string): void {
    this.#rows.push({ sequence: ++this.#sequence, kind, key, operation: "put" });
  }

  #checkReadable(): void {
    if (!this.readable) throw new AssayError("STORE_UNAVAILABLE", "cannot be read");
  }
}
