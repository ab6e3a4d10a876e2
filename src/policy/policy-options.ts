import type { KeyType } from "../crypto/spki.ts";

/** The operator's settings for lifetimes and contents. All times in seconds. */
export interface PolicyOptions {
  /** Lifetime of X509-SVIDs of entries that name none; at least 1. */
  readonly defaultX509SvidTtl: number;
  /** Lifetime of JWT-SVIDs of entries that name none; at least 1. */
  readonly defaultJwtSvidTtl: number;
  /** Lifetime of WIT-SVIDs of entries that name none; at least 1. */
  readonly defaultWitSvidTtl: number;
  /** Lifetime of access tokens of entries that name no lifetime of JWT-SVIDs; at least 1. */
  readonly defaultAccessTokenTtl: number;
  /** Lifetime of agents' X509-SVIDs; at least 1. */
  readonly agentTtl: number;
  /** No X509-SVID lives longer, an agent's neither; 0 for no bound but the authority's own end. */
  readonly maxX509SvidTtl: number;
  /** No JWT-SVID lives longer; 0 for no bound but the authority's own end. */
  readonly maxJwtSvidTtl: number;
  /** No WIT-SVID lives longer; 0 for no bound but the authority's own end. */
  readonly maxWitSvidTtl: number;
  /** No access token that something is exchanged for lives longer; 0 for no bound but the authority's own end. */
  readonly maxAccessTokenTtl: number;
  /** Kinds of public key that an X509-SVID may have, and a WIT-SVID may be bound to. */
  readonly keyTypes: readonly KeyType[];
  /** How many audiences one JWT-SVID may name, 1 to 32. One is what JWT-SVID §3.2 recommends. */
  readonly maxAudiences: number;
  /** Audiences that verify RS256 and nothing else. */
  readonly rs256Audiences: ReadonlySet<string>;
  /** Whether a WIT-SVID is given only to who proved to hold its key. A proof that is offered is always checked. */
  readonly witProofOfPossession: "optional" | "required";
}

/** The settings of an operator who sets nothing. */
export const DEFAULT_POLICY: PolicyOptions = {
  defaultX509SvidTtl: 3600,
  defaultJwtSvidTtl: 300,
  defaultWitSvidTtl: 3600,
  defaultAccessTokenTtl: 300,
  agentTtl: 3600,
  maxX509SvidTtl: 0,
  maxJwtSvidTtl: 0,
  maxWitSvidTtl: 0,
  maxAccessTokenTtl: 900,
  keyTypes: ["ec-p256", "ec-p384", "rsa"],
  maxAudiences: 32,
  rs256Audiences: new Set(),
  witProofOfPossession: "optional",
};
