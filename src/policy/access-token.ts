import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyDecision } from "./decision.ts";
import { decideLifetime, type LifetimeFacts } from "./lifetime.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { workloadIdReasons } from "./workload-id.ts";

/**
 * What a decision about an access token that an identity is exchanged for follows from. The entry's lifetime is that of
 * JWT-SVIDs: entries have no other.
 */
export interface AccessTokenQuestion extends LifetimeFacts {
  readonly trustDomain: TrustDomain;
  /** The subject. */
  readonly spiffeId: SpiffeId;
}

/** Whether an identity may be exchanged for this access token now, and for how long it is good. */
export function decideAccessToken(question: AccessTokenQuestion, options: PolicyOptions): PolicyDecision {
  return decideLifetime(
    question,
    { defaultTtl: options.defaultAccessTokenTtl, maxTtl: options.maxAccessTokenTtl },
    workloadIdReasons(question.spiffeId, question.trustDomain),
  );
}
