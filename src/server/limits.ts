import type { Clock } from "../clock.ts";
import { networkOf } from "../endpoint/address-limit.ts";
import type { Caller } from "../issuance/caller.ts";
import { RateLimiter } from "../issuance/rate-limiter.ts";
import type { ServerRates } from "./options.ts";

/** Something that takes from a caller's allowance. @throws AssayError `RATE_LIMITED`. */
export interface Allowance {
  take(key: string, amount?: number): void;
}

/** The limits of the server, each taken from by `takeFrom`. */
export interface ServerLimits {
  readonly attestation: Allowance;
  readonly x509Signing: Allowance;
  readonly jwtSigning: Allowance;
  readonly witSigning: Allowance;
  readonly bundle: Allowance;
  readonly status: Allowance;
  /** Requests of the OAuth endpoints. */
  readonly tokens: Allowance;
  /** Calls of the task API, by the task's id. */
  readonly tasks: Allowance;
  /** Refusals that make an audit record. */
  readonly refusals: Allowance;
  /** The same of evidence and tokens, which many jobs behind one address may show in vain at once. */
  readonly denials: Allowance;
}

/** The limits that the operator set, or none at all for measurements. Bursts are two seconds' worth. */
export function createServerLimits(rates: ServerRates | "off", clock: Clock): ServerLimits {
  const limiter = (perSecond: number, burst: number) => new RateLimiter({ perSecond, burst }, clock);
  const refusals = limiter(1, 20);
  if (rates === "off") {
    return {
      attestation: NONE,
      x509Signing: NONE,
      jwtSigning: NONE,
      witSigning: NONE,
      bundle: NONE,
      status: NONE,
      tokens: NONE,
      tasks: NONE,
      refusals,
      denials: NONE,
    };
  }
  return {
    attestation: limiter(rates.attestation, 2 * rates.attestation),
    // A batch counts each of its items, and the largest batch that agents send is 500.
    x509Signing: limiter(rates.signing, Math.max(500, 2 * rates.signing)),
    jwtSigning: limiter(rates.signing, 2 * rates.signing),
    witSigning: limiter(rates.signing, Math.max(500, 2 * rates.signing)),
    bundle: limiter(rates.bundle, 2 * rates.bundle),
    status: limiter(1, 10),
    // Many jobs can begin at once behind one address, and each of them asks twice.
    tokens: limiter(rates.token, 10 * rates.token),
    tasks: limiter(rates.task, 5 * rates.task),
    refusals,
    denials: limiter(1, 100),
  };
}

/**
 * Takes from a caller's allowance, counted by the SPIFFE ID that it proved, so that neither sharing an address nor
 * changing it matters, else by its address, of IPv6 the /64. Who may use the admin socket is not limited.
 * @throws AssayError `RATE_LIMITED`.
 */
export function takeFrom(allowance: Allowance, { svid, address, process }: Caller, amount = 1): void {
  if (process === undefined) allowance.take(svid?.spiffeId ?? networkOf(address), amount);
}

const NONE: Allowance = { take: () => undefined };
