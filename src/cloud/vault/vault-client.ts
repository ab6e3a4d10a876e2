/**
 * cloud/vault/ — HashiCorp Vault and OpenBao over their HTTP API: login, token, calls, errors.
 *
 * Must never know what an engine is used for, nor put a token, a secret ID or a key into an error or a log line.
 * Called by the key manager `hashicorp_vault` and the upstream authority `vault`.
 */
import type { Clock } from "../../clock.ts";
import { pause } from "../deadline.ts";
import { VaultError } from "./vault-error.ts";
import { logIn, renewLease } from "./vault-login.ts";
import { type VaultLog, VaultSession } from "./vault-session.ts";
import type { VaultSettings } from "./vault-settings.ts";
import { type VaultAnswer, type VaultCall, VaultTransport } from "./vault-transport.ts";

/**
 * Calls Vault as somebody who is logged in. A call that Vault cannot answer now is made up to three times within seconds; one
 * that is forbidden is made once more with a new login, as the token may have been revoked.
 */
export class VaultClient implements Disposable {
  readonly #transport: VaultTransport;
  readonly #session: VaultSession;
  readonly #clock: Clock;
  readonly #closed = new AbortController();

  constructor(settings: VaultSettings, { clock, log }: { readonly clock: Clock; readonly log: VaultLog }) {
    const { signal } = this.#closed;
    this.#clock = clock;
    this.#transport = new VaultTransport(settings, clock);
    this.#session = new VaultSession({
      clock,
      log,
      logIn: () => logIn(this.#transport, settings.auth, signal),
      renew: (lease) => renewLease(this.#transport, lease, signal),
    });
  }

  /**
   * The `data` of the answer, or `undefined` where there is no such thing or the answer has none.
   * @throws VaultError, AssayError `REMOTE_UNAVAILABLE` where a file of the settings cannot be read, and what the signal was
   * aborted with.
   */
  async call(call: VaultCall, signal?: AbortSignal): Promise<unknown> {
    const ends = signal === undefined ? this.#closed.signal : AbortSignal.any([signal, this.#closed.signal]);
    for (let attempt = 1; ; attempt++) {
      try {
        const { status, body } = await this.#authorised(call, ends);
        return status === 404 ? undefined : (body as { readonly data?: unknown } | undefined)?.data;
      } catch (error) {
        ends.throwIfAborted();
        const passing = error instanceof VaultError && error.kind === "unavailable";
        if (!passing || attempt === ATTEMPTS || (call.repeatable === false && !error.isUndone)) throw error;
        await pause(this.#clock, FIRST_PAUSE * 4 ** (attempt - 1), ends);
      }
    }
  }

  /** Ends every call and forgets the token. */
  [Symbol.dispose](): void {
    this.#closed.abort(new VaultError("unavailable", "the client of Vault is closed"));
    this.#session[Symbol.dispose]();
    this.#transport[Symbol.dispose]();
  }

  async #authorised(call: VaultCall, signal: AbortSignal): Promise<VaultAnswer> {
    signal.throwIfAborted();
    const token = await this.#session.token();
    try {
      return await this.#transport.send(call, token, signal);
    } catch (error) {
      if (!(error instanceof VaultError && error.status === 403)) throw error;
      if (!this.#session.refused(token)) throw error;
    }
    return this.#transport.send(call, await this.#session.token(), signal);
  }
}

const ATTEMPTS = 3;
const FIRST_PAUSE = 200;
