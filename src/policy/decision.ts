/**
 * policy/ — what may be issued, now: pure functions over data that answer with their reasons as data.
 *
 * Must never know where its facts come from or what becomes of its answer: no store, no key, no clock of its own.
 * Called by issuance, which records the reasons, and by whatever explains a decision.
 */

/** Every rule that policy applies. The names are stable: they appear in audit records and explanations. */
export type PolicyRule =
  | "ttl-requested"
  | "ttl-entry"
  | "ttl-default"
  | "ttl-invalid"
  | "ttl-maximum"
  | "entry-expiry"
  | "authority-expiry"
  | "task-lease"
  | "spiffe-id-member"
  | "spiffe-id-path"
  | "spiffe-id-reserved"
  | "key-type"
  | "key-possession"
  | "dns-name"
  | "dns-name-count"
  | "audience-required"
  | "audience-count";

/** One rule that had a say in a decision. */
export interface PolicyReason {
  readonly rule: PolicyRule;
  /** `sets` gave the value, `caps` made it smaller, `denies` refused the whole. */
  readonly effect: "sets" | "caps" | "denies";
  /** Why, for the operator: lower case, no period, no secret. */
  readonly detail: string;
}

/** What policy answers. `reasons` is in the order of evaluation and holds every rule that denied, not the first alone. */
export type PolicyDecision =
  | {
      readonly allowed: true;
      /** Lifetime from now on in whole seconds, at least 1. */
      readonly ttl: number;
      /** Latest end in Unix seconds: now and the lifetime. */
      readonly notAfter: number;
      readonly reasons: readonly PolicyReason[];
    }
  | { readonly allowed: false; readonly reasons: readonly PolicyReason[] };

/** The rules that denied, for an error text or an audit record. */
export function denials(decision: PolicyDecision): readonly PolicyReason[] {
  return decision.reasons.filter((reason) => reason.effect === "denies");
}
