import type { Clock } from "../../clock.ts";
import type { VaultLease } from "./vault-login.ts";

/** Where is said that a token could not be renewed. */
export interface VaultLog {
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** How a session begins and goes on. */
export interface VaultSessionOptions {
  readonly clock: Clock;
  readonly log: VaultLog;
  logIn(): Promise<VaultLease>;
  renew(lease: VaultLease): Promise<VaultLease>;
}

/**
 * Keeps one token alive: it is got when it is first needed, prolonged when two thirds of its life are over, and given up
 * for a new login where that does not work any longer or has come to its end.
 */
export class VaultSession implements Disposable {
  readonly #options: VaultSessionOptions;
  #lease: HeldLease | undefined;
  #loggingIn: Promise<string> | undefined;
  #timer: Disposable | undefined;
  /** When a token was forgotten because Vault refused it. */
  #refusedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: VaultSessionOptions) {
    this.#options = options;
  }

  /** A token that is alive as far as is known; logs in where there is none, once for all who wait. */
  async token(): Promise<string> {
    const lease = this.#lease;
    if (lease !== undefined && this.#options.clock.now() < lease.end) return lease.token;
    this.#loggingIn ??= this.#logIn().finally(() => (this.#loggingIn = undefined));
    return this.#loggingIn;
  }

  /**
   * Forgets a token that Vault refused, unless another has taken its place already. `false` where a new login is no help: one was made for
   * that reason within half a minute, so what is refused is not the token but what was asked.
   */
  refused(token: string): boolean {
    if (this.#lease?.token !== token) return true;
    const now = this.#options.clock.now();
    const age = now - this.#refusedAt;
    if (age >= 0 && age < LOGIN_AGAIN) return false;
    this.#refusedAt = now;
    this.#drop();
    return true;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#drop();
  }

  async #logIn(): Promise<string> {
    const lease = await this.#options.logIn();
    if (!this.#closed) this.#hold(lease, lease.seconds);
    return lease.token;
  }

  #hold(lease: VaultLease, first: number): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (lease.seconds === 0) {
      this.#lease = { ...lease, end: Number.POSITIVE_INFINITY, first };
      return;
    }
    const end = this.#options.clock.now() + lease.seconds * 1000;
    this.#lease = { ...lease, end, first };
    this.#arm((lease.seconds * 2000) / 3);
  }

  #arm(delay: number): void {
    this.#timer = this.#options.clock.schedule(delay, () => void this.#prolong());
  }

  async #prolong(): Promise<void> {
    const { clock, log } = this.#options;
    const lease = this.#lease;
    if (lease === undefined || this.#closed) return;
    if (!lease.renewable) return this.#drop();
    try {
      const renewed = await this.#options.renew(lease);
      if (this.#lease !== lease || this.#closed) return;
      // Near the longest life that Vault allows, a renewal gives less and less: a new login gives all of it.
      if (renewed.seconds !== 0 && renewed.seconds < lease.first / 3) return this.#drop();
      this.#hold({ ...renewed, token: lease.token }, lease.first);
    } catch (error) {
      if (this.#lease !== lease || this.#closed) return;
      log.warn("the token for Vault could not be renewed", { error: String(error) });
      const left = lease.end - clock.now();
      if (left <= LEAST_LEFT) return this.#drop();
      this.#arm(Math.max(left / 3, LEAST_LEFT / 2));
    }
  }

  #drop(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#lease = undefined;
  }
}

interface HeldLease extends VaultLease {
  /** Milliseconds since the epoch at which the token is dead. */
  readonly end: number;
  /** Seconds that the token had at login. */
  readonly first: number;
}

const LEAST_LEFT = 2000;
const LOGIN_AGAIN = 30_000;
