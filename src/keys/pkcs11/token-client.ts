import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginLog } from "../../plugin/host.ts";
import { TokenError, toTokenError } from "./cryptoki-error.ts";
import type { Keeper } from "./keeper.ts";
import type { TokenAnswers, TokenRequest, TokenSettings } from "./messages.ts";

/** What a client of a token is made from. */
export interface TokenClientParts {
  readonly settings: TokenSettings;
  readonly clock: Clock;
  readonly log: PluginLog;
  /** Starts the process that holds the library. */
  start(): Keeper;
  /** Something that is different when the PIN file was changed: time, size and place of it. */
  pinStamp(): Promise<string>;
}

/**
 * A token that may go away and come back. When the device is lost the process that held the library is let go, and the next
 * call begins anew with another one: library, session and login. A call that fails is not tried again here. Beginnings that
 * lead to nothing come at growing distances, a second to half a minute, with the reason told at once meanwhile; a PIN that was
 * refused is not tried again before its file has changed, since tokens lock after a few.
 */
export class TokenClient {
  readonly #parts: TokenClientParts;
  /** Those that were let go and have not ended. */
  readonly #retired = new Set<Keeper>();
  #current: Promise<Keeper> | undefined;
  #keeper: Keeper | undefined;
  /** Beginnings since a call last succeeded. */
  #failures = 0;
  #lastFailure: TokenError | undefined;
  /** How long no beginning may come, from when the last one failed. */
  #wait: { readonly since: number; readonly milliseconds: number } | undefined;
  #refusedPin: string | undefined;
  #closed = false;

  constructor(parts: TokenClientParts) {
    this.#parts = parts;
  }

  /**
   * Opens the token now, so that what a person must mend is said when the program starts. A device that is away is no reason
   * not to start.
   * @throws AssayError `CONFIG_INVALID` for a wrong setting or PIN.
   */
  async open(): Promise<void> {
    try {
      await this.#begun();
    } catch (error) {
      const { kind, detail } = toTokenError("open the token", error);
      if (kind === "config" || kind === "pin") {
        await this.close();
        throw new AssayError("CONFIG_INVALID", detail);
      }
      this.#parts.log.warn("the token cannot be opened and is tried again when a key is needed", {
        reason: detail,
      });
    }
  }

  /** Asks the token. @throws AssayError `KEY_UNAVAILABLE`. */
  async ask<Op extends TokenRequest["op"]>(
    request: Extract<TokenRequest, { readonly op: Op }>,
  ): Promise<TokenAnswers[Op]> {
    try {
      const keeper = await this.#begun();
      return await this.#askKeeper(keeper, request);
    } catch (error) {
      const { detail } = toTokenError("use the token", error);
      throw new AssayError("KEY_UNAVAILABLE", this.#closed ? "key manager is closed" : detail);
    }
  }

  /** Ends what is under way with `KEY_UNAVAILABLE` and lets go of the token. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#keeper !== undefined) this.#retired.add(this.#keeper);
    this.#letGo();
    await Promise.all([...this.#retired].map((keeper) => keeper.close()));
  }

  async #askKeeper<Op extends TokenRequest["op"]>(
    keeper: Keeper,
    request: Extract<TokenRequest, { readonly op: Op }>,
  ): Promise<TokenAnswers[Op]> {
    try {
      const answer = await keeper.ask(request, DEADLINES[request.op]);
      this.#failures = 0;
      return answer;
    } catch (error) {
      const failure = toTokenError("use the token", error);
      // What the device will not do it says itself, so it is well.
      if (failure.kind !== "refused" && this.#keeper === keeper) this.#lost(keeper, failure);
      throw failure;
    }
  }

  #begun(): Promise<Keeper> {
    this.#current ??= this.#begin().catch((error: unknown) => {
      this.#current = undefined;
      throw error;
    });
    return this.#current;
  }

  async #begin(): Promise<Keeper> {
    const stamp = await this.#parts.pinStamp();
    if (this.#closed) throw new TokenError("lost", "key manager is closed");
    if (this.#lastFailure !== undefined && (this.#refusedPin === stamp || this.#mustWait())) {
      throw this.#lastFailure;
    }
    this.#refusedPin = undefined;
    const keeper = this.#parts.start();
    this.#keeper = keeper;
    try {
      await keeper.ask({ op: "open", settings: this.#parts.settings }, DEADLINES.open);
    } catch (error) {
      const failure = toTokenError("open the token", error);
      if (failure.kind === "pin") this.#refusedPin = stamp;
      this.#lost(keeper, failure);
      throw failure;
    }
    if (this.#lastFailure !== undefined) this.#parts.log.info("the token is open again");
    this.#lastFailure = undefined;
    return keeper;
  }

  /** The first beginning after a success comes at once: most devices are back by then. */
  #lost(keeper: Keeper, failure: TokenError): void {
    this.#letGo();
    this.#retired.add(keeper);
    void keeper.retire().then(() => this.#retired.delete(keeper));
    if (this.#closed) return;
    const delay = this.#failures === 0 ? 0 : Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** (this.#failures - 1));
    this.#failures++;
    this.#wait = { since: this.#parts.clock.now(), milliseconds: delay };
    this.#lastFailure = failure;
    this.#parts.log.warn("the token was lost", { reason: failure.detail, retryInMs: delay });
  }

  /** A clock that was set back ends the wait: it could be as long as the step otherwise. */
  #mustWait(): boolean {
    if (this.#wait === undefined) return false;
    const waited = this.#parts.clock.now() - this.#wait.since;
    return waited >= 0 && waited < this.#wait.milliseconds;
  }

  #letGo(): void {
    this.#current = undefined;
    this.#keeper = undefined;
  }
}

// Milliseconds after which the library is taken to have stalled. A guard's deadlines are shorter: who waits is told before.
const DEADLINES: Readonly<Record<TokenRequest["op"], number>> = {
  open: 30_000,
  list: 30_000,
  generate: 120_000,
  destroy: 30_000,
  exists: 30_000,
  sign: 10_000,
};
const MIN_DELAY_MS = 1000;
const MAX_DELAY_MS = 30_000;
