import type { FastifyReply, FastifyRequest } from "fastify";
import { type Clock, unixSeconds } from "../../clock.ts";
import { verifyDpopProof } from "../../crypto/jose/dpop.ts";
import { networkOf } from "../../endpoint/address-limit.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { DpopNonces } from "./dpop-nonces.ts";
import { ReplayMemory } from "./replay-memory.ts";

/** What a guard stands on. */
export interface DpopGuardOptions {
  readonly clock: Clock;
  /** The issuer's URL: what proofs name lies below it, however the request got here. */
  readonly issuer: string;
  /** 32 random octets of this guard alone: the nonces of endpoints of different kinds are not each other's. */
  readonly nonceKey: Uint8Array;
  /** How many proofs are remembered at most. */
  readonly capacity?: number;
}

/** An access token and the thumbprint of the key that it is bound to. */
export interface BoundToken {
  readonly token: string;
  readonly jkt: string;
}

/**
 * Takes proofs of possession (RFC 9449), each once, for the very request they come with, with a nonce of this process that
 * is at most five minutes old. Since the nonce tells when a proof was made, its own clock may be off by minutes.
 */
export class DpopGuard {
  readonly #clock: Clock;
  readonly #issuer: string;
  readonly #nonces: DpopNonces;
  readonly #seen: ReplayMemory;

  constructor({ clock, issuer, nonceKey, capacity }: DpopGuardOptions) {
    this.#clock = clock;
    this.#issuer = issuer;
    this.#nonces = new DpopNonces(clock, nonceKey);
    this.#seen = new ReplayMemory(capacity);
  }

  /** Puts the nonce to use next on an answer. */
  offerNonce(reply: FastifyReply): void {
    reply.header("dpop-nonce", this.#nonces.current());
  }

  /** Whether the request has a proof, good or bad. */
  isProved({ headers }: FastifyRequest): boolean {
    return headers["dpop"] !== undefined;
  }

  /**
   * The thumbprint of the key whose possession the request proves.
   * @param bound The access token that the request carries in `Authorization`, verified: the proof must then be for it and by
   * the key that it is bound to.
   * @throws AssayError `INVALID_DPOP_PROOF`, also without a proof or with several; `DPOP_NONCE_REQUIRED`;
   * `INVALID_ACCESS_TOKEN` for a proof by another key than the token's; `OVERLOADED`.
   */
  async admit(request: FastifyRequest, bound?: BoundToken): Promise<string> {
    const proof = request.headers["dpop"];
    if (proof === undefined) throw new AssayError("INVALID_DPOP_PROOF", "a DPoP proof is missing");
    // Node joins the values of equal headers by commas, and no compact JWS has one.
    if (typeof proof !== "string" || proof.includes(",")) {
      throw new AssayError("INVALID_DPOP_PROOF", "exactly one DPoP header is expected");
    }
    let step: number | undefined;
    const { jkt, jti } = await verifyDpopProof({
      proof,
      method: request.method,
      url: targetUrl(this.#issuer, request.url),
      nonceIsGood: (nonce) => {
        step = this.#nonces.stepOf(nonce);
        return step !== undefined;
      },
      now: unixSeconds(this.#clock),
      maxAgeSeconds: MAX_AGE_SECONDS,
      leewaySeconds: MAX_AGE_SECONDS,
      ...(bound === undefined ? {} : { accessToken: bound.token }),
    });
    // Before it takes room: who has one token can make any number of keys.
    if (bound !== undefined && bound.jkt !== jkt) {
      throw new AssayError("INVALID_ACCESS_TOKEN", "the token is bound to another key than the proof's");
    }
    this.#seen.forgetBefore(this.#nonces.oldest);
    // Verification took a turn: the proof may have become known, or its nonce old, meanwhile.
    if (step === undefined || step < this.#nonces.oldest) {
      throw new AssayError("DPOP_NONCE_REQUIRED", "nonce must be a recent one of this server");
    }
    const holder = bound?.jkt ?? networkOf(request.socket.remoteAddress ?? "");
    if (!this.#seen.remember(step, `${jkt} ${jti}`, holder)) {
      throw new AssayError("INVALID_DPOP_PROOF", "the proof was used before");
    }
    return jkt;
  }
}

/**
 * The URL by which the world knows the resource that was asked for: below the issuer's, never made from `Host`.
 * @param asked The request's target as it came, whose path may have that of the issuer before it.
 */
export function targetUrl(issuer: string, asked: string): string {
  const base = issuer.replace(/\/$/, "");
  const prefix = new URL(issuer).pathname.replace(/\/$/, "");
  const [path = "/"] = asked.split("?", 1);
  return `${base}${prefix !== "" && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path}`;
}

const MAX_AGE_SECONDS = 300;
