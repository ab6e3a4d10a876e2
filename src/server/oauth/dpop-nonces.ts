import { createHmac, timingSafeEqual } from "node:crypto";
import { type Clock, unixSeconds } from "../../clock.ts";

/**
 * The nonces of one kind of endpoint (RFC 9449 §8, §9): the minute in which each was made, with a code over it by a key that
 * only this process has. So nothing is stored, and a proof with a good nonce was made for this process.
 */
export class DpopNonces {
  readonly #clock: Clock;
  readonly #key: Uint8Array;
  #current: { readonly step: number; readonly nonce: string } | undefined;

  /** @param key 32 random octets that nobody else has. */
  constructor(clock: Clock, key: Uint8Array) {
    this.#clock = clock;
    this.#key = key;
  }

  /** The nonce to use from now on. */
  current(): string {
    const step = this.#step();
    if (this.#current?.step !== step) this.#current = { step, nonce: this.#nonceOf(step) };
    return this.#current.nonce;
  }

  /** The minute of a nonce that is ours and at most five minutes old. */
  stepOf(nonce: string): number | undefined {
    const [minute = ""] = nonce.split(".", 1);
    const step = Number.parseInt(minute, 36);
    if (!(step >= this.oldest && step <= this.#step())) return undefined;
    const expected = Buffer.from(this.#nonceOf(step));
    const given = Buffer.from(nonce);
    return given.length === expected.length && timingSafeEqual(given, expected) ? step : undefined;
  }

  /** The oldest minute whose nonce is still good. */
  get oldest(): number {
    return this.#step() - STEPS;
  }

  #step(): number {
    return Math.floor(unixSeconds(this.#clock) / STEP_SECONDS);
  }

  #nonceOf(step: number): string {
    const minute = step.toString(36);
    return `${minute}.${createHmac("sha256", this.#key).update(minute).digest("base64url").slice(0, CODE_CHARACTERS)}`;
  }
}

const STEP_SECONDS = 60;
const STEPS = 5;
// 132 bits.
const CODE_CHARACTERS = 22;
