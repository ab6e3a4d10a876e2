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
export class VaultSession {
  readonly #options: VaultSessionOptions;
  #lease: HeldLease | undefined;
  #loggingIn: Promise<string> | undefined;
  #timer: Disposable | undefined;
  /** Every token that a login gave us and that may be alive, with its end in milliseconds since the epoch. */
  readonly #ours = new Map<string, number>();
  /** When a token was forgotten because Vault refused it. */
  #refusedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: VaultSessionOptions) {
    this.#options = options;
  }

  /**
   * A token that is alive as far as is known; logs in where there is none, once for all who wait.
   * @throws what the login throws, and the reason of the signal where that ends the wait.
   */
  async token(signal: AbortSignal): Promise<string> {
    const lease = this.#lease;
    if (lease !== undefined && this.#options.clock.now() < lease.end) return lease.token;
    this.#loggingIn ??= this.#logIn().finally(() => (this.#loggingIn = undefined));
    return orAborted(this.#loggingIn, signal);
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

  /**
   * Ends the session; nobody may ask it for a token any more. Waits for a login that is under way.
   * @returns the tokens that logins gave and that may be alive, for whoever revokes them; one that the operator gave is none
   * of them.
   */
  async end(): Promise<readonly string[]> {
    this.#closed = true;
    this.#drop();
    // Whoever waits for the login is told why it fails.
    await this.#loggingIn?.catch(() => undefined);
    this.#forgetEnded();
    return [...this.#ours.keys()];
  }

  async #logIn(): Promise<string> {
    const lease = await this.#options.logIn();
    if (lease.isOurs) {
      this.#forgetEnded();
      this.#ours.set(lease.token, this.#endOf(lease));
    }
    if (!this.#closed) this.#hold(lease, lease.seconds);
    return lease.token;
  }

  #hold(lease: VaultLease, first: number): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    const end = this.#endOf(lease);
    if (this.#ours.has(lease.token)) this.#ours.set(lease.token, end);
    this.#lease = { ...lease, end, first };
    if (lease.seconds !== 0) this.#arm((lease.seconds * 2000) / 3);
  }

  #endOf({ seconds }: VaultLease): number {
    return seconds === 0 ? Number.POSITIVE_INFINITY : this.#options.clock.now() + seconds * 1000;
  }

  /** Forgets the tokens that are over, and the eldest where there are very many: those end by themselves. */
  #forgetEnded(): void {
    const now = this.#options.clock.now();
    for (const [token, end] of this.#ours) {
      if (end <= now || this.#ours.size > MAX_OURS) this.#ours.delete(token);
    }
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

/** As the work ends, or with the reason of the signal where that comes first. */
async function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const { promise, reject } = Promise.withResolvers<never>();
  const cancel = () => reject(signal.reason as Error);
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

const MAX_OURS = 100;
const LEAST_LEFT = 2000;
const LOGIN_AGAIN = 30_000;
