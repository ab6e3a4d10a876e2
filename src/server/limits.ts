import type { Clock } from "../clock.ts";
import { RateLimiter } from "../issuance/rate-limiter.ts";

/** Something that takes from a caller's allowance. @throws AssayError `RATE_LIMITED`. */
export interface Allowance {
  take(key: string, amount?: number): void;
}

/**
 * The limits of the server. Callers that have proved who they are count by their SPIFFE ID, so that neither a shared
 * address nor a change of it matters; only attestation, whose callers have proved nothing, counts by address.
 */
export interface ServerLimits {
  readonly attestation: Allowance;
  readonly x509Signing: Allowance;
  readonly jwtSigning: Allowance;
  readonly status: Allowance;
}

/** The default limits, or none at all for measurements. */
export function createServerLimits(mode: "default" | "off", clock: Clock): ServerLimits {
  if (mode === "off") return { attestation: NONE, x509Signing: NONE, jwtSigning: NONE, status: NONE };
  return {
    // A rack that restarts behind one address comes at once; a guesser of tokens is held to one try a second.
    attestation: new RateLimiter({ perSecond: 1, burst: 20 }, clock),
    x509Signing: new RateLimiter({ perSecond: 500, burst: 1000 }, clock),
    jwtSigning: new RateLimiter({ perSecond: 500, burst: 1000 }, clock),
    status: new RateLimiter({ perSecond: 1, burst: 10 }, clock),
  };
}

const NONE: Allowance = { take: () => undefined };
