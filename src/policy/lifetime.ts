import type { PolicyDecision, PolicyReason } from "./decision.ts";

/** What the lifetime of an SVID follows from. Times in Unix seconds, lifetimes in seconds. */
export interface LifetimeFacts {
  readonly now: number;
  /** Lifetime that the caller asked for, 0 or absent for none. */
  readonly requestedTtl?: number;
  /** Lifetime that the registration entry names, 0 or absent for none. */
  readonly entryTtl?: number;
  /** When the registration entry expires, 0 or absent for never. No SVID of an entry outlives it. */
  readonly entryExpiresAt?: number;
  /** End of the authority that will sign. */
  readonly authorityNotAfter: number;
  /** When its task ends unless kept alive, or what it is exchanged for; absent for what depends on neither. */
  readonly endsBy?: number;
}

/** The operator's part of it. */
export interface LifetimeLimits {
  /** Lifetime where nobody named one. */
  readonly defaultTtl: number;
  /** Longest lifetime, 0 for no bound. */
  readonly maxTtl: number;
}

/** Decides a lifetime, given what other rules have found so far: any denial among them denies the whole. */
export function decideLifetime(
  facts: LifetimeFacts,
  limits: LifetimeLimits,
  found: readonly PolicyReason[],
): PolicyDecision {
  const reasons = [...found];
  const { now, requestedTtl = 0, entryTtl = 0, entryExpiresAt = 0, authorityNotAfter, endsBy } = facts;
  const check = (name: string, value: number) => {
    if (Number.isSafeInteger(value) && value >= 0) return;
    const detail = `${name} lifetime must be whole seconds, not negative`;
    reasons.push({ rule: "ttl-invalid", effect: "denies", detail });
  };
  check("requested", requestedTtl);
  check("entry's", entryTtl);

  let ttl = limits.defaultTtl;
  if (requestedTtl > 0) {
    ttl = requestedTtl;
    reasons.push({ rule: "ttl-requested", effect: "sets", detail: `the caller asked for ${ttl} s` });
  } else if (entryTtl > 0) {
    ttl = entryTtl;
    reasons.push({ rule: "ttl-entry", effect: "sets", detail: `the entry names ${ttl} s` });
  } else {
    reasons.push({ rule: "ttl-default", effect: "sets", detail: `the default is ${ttl} s` });
  }

  const cap = (rule: PolicyReason["rule"], most: number, what: string) => {
    // What must hold is asked for, so that a bound that is no number lets nothing through.
    if (!(most > 0)) reasons.push({ rule, effect: "denies", detail: `${what} has expired` });
    else if (ttl > most) {
      ttl = most;
      reasons.push({ rule, effect: "caps", detail: `${what} allows ${most} s` });
    }
  };
  if (requestedTtl > 0 && entryTtl > 0) cap("ttl-entry", entryTtl, "the entry");
  if (limits.maxTtl > 0) cap("ttl-maximum", limits.maxTtl, "the configured maximum");
  if (entryExpiresAt > 0) cap("entry-expiry", Math.floor(entryExpiresAt) - now, "the entry");
  cap("authority-expiry", Math.floor(authorityNotAfter) - now, "the authority");
  if (endsBy !== undefined) cap("task-lease", Math.floor(endsBy) - now, "what it follows from");

  if (reasons.some((reason) => reason.effect === "denies")) return { allowed: false, reasons };
  return { allowed: true, ttl, notAfter: now + ttl, reasons };
}
