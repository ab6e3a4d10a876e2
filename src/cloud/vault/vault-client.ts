/**
 * cloud/vault/ — HashiCorp Vault and OpenBao over their HTTP API: login, token, calls, errors.
 *
 * Must never know what an engine is used for, nor put a token, a secret ID or a key into an error or a log line.
 * Called by the key manager `hashicorp_vault` and the upstream authority `vault`.
 */
import type { Clock } from "../../clock.ts";
import { pause, withDeadline } from "../deadline.ts";
import { VaultError } from "./vault-error.ts";
import { logIn, renewLease, revoke } from "./vault-login.ts";
import { type VaultLog, VaultSession } from "./vault-session.ts";
import type { VaultSettings } from "./vault-settings.ts";
import { type VaultAnswer, type VaultCall, VaultTransport } from "./vault-transport.ts";

/**
 * Calls Vault as somebody who is logged in. A call that Vault cannot answer now is made up to three times within seconds; one
 * that is forbidden is made once more with a new login, as the token may have been revoked.
 */
export class VaultClient implements AsyncDisposable {
  readonly #transport: VaultTransport;
  readonly #session: VaultSession;
  readonly #clock: Clock;
  readonly #log: VaultLog;
  readonly #closed = new AbortController();
  #ended: Promise<void> | undefined;

  constructor(settings: VaultSettings, { clock, log }: { readonly clock: Clock; readonly log: VaultLog }) {
    this.#clock = clock;
    this.#log = log;
    this.#transport = new VaultTransport(settings, clock);
    this.#session = new VaultSession({
      clock,
      log,
      // Not ended with the calls: a token that is on its way must be known to be revoked.
      logIn: () => logIn(this.#transport, settings.auth),
      renew: (lease) => renewLease(this.#transport, lease, this.#closed.signal),
    });
  }

  /**
   * The `data` of the answer, or `undefined` where there is no such thing or the answer has none.
   * @throws VaultError, AssayError where a file of the settings cannot be read or others can read it too, and what the signal
   * was aborted with.
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

  /**
   * Ends every call at once, and revokes the tokens that logins gave, for two seconds at most; what cannot be revoked is logged
   * and ends by itself. A token that the operator gave goes on. Resolves, however often it is called, when that is over.
   */
  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    this.#closed.abort(new VaultError("unavailable", "the client of Vault is closed"));
    try {
      await withDeadline({ clock: this.#clock, timeout: REVOKE_TIMEOUT }, async (signal) => {
        const tokens = await this.#session.end();
        const revoking = tokens.map((token) => revoke(this.#transport, token, signal));
        // One that is refused, as it is dead already, must not cut the others off.
        await Promise.allSettled(revoking);
        await Promise.all(revoking);
      });
    } catch (error) {
      this.#log.warn("a token of Vault could not be revoked", { error: String(error) });
    } finally {
      this.#transport[Symbol.dispose]();
    }
  }

  async #authorised(call: VaultCall, signal: AbortSignal): Promise<VaultAnswer> {
    signal.throwIfAborted();
    const token = await this.#session.token(signal);
    try {
      return await this.#transport.send(call, token, signal);
    } catch (error) {
      if (!(error instanceof VaultError && error.status === 403)) throw error;
      if (!this.#session.refused(token)) throw error;
    }
    return this.#transport.send(call, await this.#session.token(signal), signal);
  }
}

const ATTEMPTS = 3;
const FIRST_PAUSE = 200;
const REVOKE_TIMEOUT = 2000;
