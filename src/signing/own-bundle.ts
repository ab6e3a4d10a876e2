import type { Clock } from "../clock.ts";
import { firstBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { BundleStore, ChangeLog } from "../store/store.ts";

/** What the own bundle follows. */
export interface OwnBundleDependencies {
  readonly trustDomain: TrustDomain;
  readonly bundles: Pick<BundleStore, "get">;
  readonly changes: Pick<ChangeLog, "latest" | "since" | "subscribe">;
  readonly clock: Clock;
  /** Told when the store could not be read; the reading is tried again. */
  readonly reportFailure: (error: unknown) => void;
}

/**
 * The trust domain's own bundle as the store has it, kept in memory: follows the change log for what other servers
 * write, and takes what this one writes at once. It only ever moves to a higher sequence.
 */
export class OwnBundle implements AsyncDisposable {
  readonly #with: OwnBundleDependencies;
  readonly #listeners = new Set<(bundle: SpiffeBundle) => void>();
  #bundle: SpiffeBundle;
  /** Sequence of the last row of the change log that was looked at. */
  #seen = 0;
  #subscription: Disposable | undefined;
  #retry: Disposable | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #closed = false;

  private constructor(dependencies: OwnBundleDependencies) {
    this.#with = dependencies;
    this.#bundle = firstBundle(dependencies.trustDomain);
  }

  /** Reads the bundle and begins to follow. @throws AssayError `STORE_UNAVAILABLE`. */
  static async open(dependencies: OwnBundleDependencies): Promise<OwnBundle> {
    const own = new OwnBundle(dependencies);
    const { changes } = dependencies;
    // The position is taken before the bundle is read: a change in between is looked at twice, never missed.
    own.#seen = await changes.latest();
    await own.#reload();
    own.#subscription = changes.subscribe(() => own.#follow());
    own.#follow();
    return own;
  }

  get current(): SpiffeBundle {
    return this.#bundle;
  }

  /** Takes a bundle if it is newer than the one held, and tells the listeners. */
  adopt(bundle: SpiffeBundle): void {
    if (this.#closed || bundle.sequence <= this.#bundle.sequence) return;
    this.#bundle = bundle;
    for (const listener of this.#listeners) listener(bundle);
  }

  /** Calls the listener with every newer bundle from now on, until disposed. A listener must not throw. */
  onChange(listener: (bundle: SpiffeBundle) => void): Disposable {
    // Wrapped, so that one function registered twice is two listeners.
    const own = (bundle: SpiffeBundle) => listener(bundle);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#subscription?.[Symbol.dispose]();
    this.#retry?.[Symbol.dispose]();
    this.#listeners.clear();
    await this.#reading;
  }

  #follow(): void {
    if (this.#closed) return;
    if (this.#reading !== undefined) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#reading = this.#read()
      .catch((error: unknown) => {
        if (this.#closed) return;
        this.#with.reportFailure(error);
        this.#retry?.[Symbol.dispose]();
        this.#retry = this.#with.clock.schedule(RETRY_MILLISECONDS, () => this.#follow());
      })
      .then(() => {
        this.#reading = undefined;
        if (this.#again) this.#follow();
      });
  }

  async #read(): Promise<void> {
    const { changes, trustDomain } = this.#with;
    for (;;) {
      const rows = await changes.since(this.#seen, PAGE);
      if (rows === undefined) {
        const latest = await changes.latest();
        await this.#reload();
        this.#seen = latest;
        continue;
      }
      const last = rows.at(-1);
      if (last === undefined || this.#closed) return;
      if (rows.some((row) => row.kind === "bundle" && row.key === trustDomain)) await this.#reload();
      this.#seen = last.sequence;
    }
  }

  async #reload(): Promise<void> {
    const stored = await this.#with.bundles.get(this.#with.trustDomain);
    if (stored !== undefined) this.adopt(stored);
  }
}

const PAGE = 1000;
const RETRY_MILLISECONDS = 1000;
