import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyDecision, PolicyReason } from "./decision.ts";
import { decideLifetime, type LifetimeFacts } from "./lifetime.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { type KeyFacts, keyTypeReasons, workloadIdReasons } from "./workload-id.ts";

/** What a decision about a WIT-SVID follows from. The entry's lifetime is that of X509-SVIDs: entries have no other. */
export interface WitSvidQuestion extends LifetimeFacts, KeyFacts {
  readonly trustDomain: TrustDomain;
  readonly spiffeId: SpiffeId;
  /** Whether possession of the private key was proved. */
  readonly proved: boolean;
}

/** Whether a workload may have this WIT-SVID now, and for how long. */
export function decideWitSvid(question: WitSvidQuestion, options: PolicyOptions): PolicyDecision {
  const reasons = [
    ...workloadIdReasons(question.spiffeId, question.trustDomain),
    ...keyTypeReasons(question, options),
    ...proofReasons(question.proved, options),
  ];
  return decideLifetime(
    question,
    { defaultTtl: options.defaultWitSvidTtl, maxTtl: options.maxWitSvidTtl },
    reasons,
  );
}

function proofReasons(proved: boolean, options: PolicyOptions): readonly PolicyReason[] {
  if (proved || options.witProofOfPossession === "optional") return [];
  const detail = "a proof of possession of the key is required";
  return [{ rule: "key-possession", effect: "denies", detail }];
}
