import type { KeyType } from "../crypto/spki.ts";

/** The operator's settings for lifetimes and contents. All times in seconds. */
export interface PolicyOptions {
  /** Lifetime of X509-SVIDs of entries that name none; at least 1. */
  readonly defaultX509SvidTtl: number;
  /** Lifetime of JWT-SVIDs of entries that name none; at least 1. */
  readonly defaultJwtSvidTtl: number;
  /** Lifetime of agents' X509-SVIDs; at least 1. */
  readonly agentTtl: number;
  /** No X509-SVID lives longer, an agent's neither; 0 for no bound but the authority's own end. */
  readonly maxX509SvidTtl: number;
  /** No JWT-SVID lives longer; 0 for no bound but the authority's own end. */
  readonly maxJwtSvidTtl: number;
  /** Kinds of public key that an X509-SVID may have. */
  readonly keyTypes: readonly KeyType[];
  /** How many audiences one JWT-SVID may name, 1 to 32. One is what JWT-SVID §3.2 recommends. */
  readonly maxAudiences: number;
}

/** The settings of an operator who sets nothing. */
export const DEFAULT_POLICY: PolicyOptions = {
  defaultX509SvidTtl: 3600,
  defaultJwtSvidTtl: 300,
  agentTtl: 3600,
  maxX509SvidTtl: 0,
  maxJwtSvidTtl: 0,
  keyTypes: ["ec-p256", "ec-p384", "rsa"],
  maxAudiences: 32,
};
