/** Why an operator revokes, in RFC 5280's words (§5.3.1). */
export const REVOCATION_REASONS = [
  "unspecified",
  "keyCompromise",
  "affiliationChanged",
  "superseded",
  "cessationOfOperation",
  "privilegeWithdrawn",
] as const;

/** One of them. */
export type RevocationReason = (typeof REVOCATION_REASONS)[number];
