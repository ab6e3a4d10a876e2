import type { Audience } from "../spiffe/audience.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyDecision, PolicyReason } from "./decision.ts";
import { decideLifetime, type LifetimeFacts } from "./lifetime.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { workloadIdReasons } from "./workload-id.ts";

/** What a decision about a JWT-SVID follows from. */
export interface JwtSvidQuestion extends LifetimeFacts {
  readonly trustDomain: TrustDomain;
  readonly spiffeId: SpiffeId;
  /** Every audience that the token would name. */
  readonly audiences: readonly Audience[];
}

/** Whether a workload may have this JWT-SVID now, and for how long. */
export function decideJwtSvid(question: JwtSvidQuestion, options: PolicyOptions): PolicyDecision {
  const reasons = [
    ...workloadIdReasons(question.spiffeId, question.trustDomain),
    ...audienceReasons(question.audiences, options),
  ];
  return decideLifetime(
    question,
    { defaultTtl: options.defaultJwtSvidTtl, maxTtl: options.maxJwtSvidTtl },
    reasons,
  );
}

/**
 * The algorithm that a JWT-SVID has to have: RS256 where every one of its audiences verifies nothing else, and
 * otherwise whatever the JWT authority signs by, so that one such audience among others weakens no other's token.
 */
export function jwtSvidAlgorithm(
  audiences: readonly Audience[],
  { rs256Audiences }: Pick<PolicyOptions, "rs256Audiences">,
): "RS256" | undefined {
  const all = audiences.length > 0 && audiences.every((audience) => rs256Audiences.has(audience));
  return all ? "RS256" : undefined;
}

function audienceReasons(audiences: readonly Audience[], options: PolicyOptions): readonly PolicyReason[] {
  if (audiences.length === 0) {
    const detail = "a JWT-SVID must name at least one audience";
    return [{ rule: "audience-required", effect: "denies", detail }];
  }
  if (audiences.length <= options.maxAudiences) return [];
  const detail = `${audiences.length} audiences, at most ${options.maxAudiences} are allowed`;
  return [{ rule: "audience-count", effect: "denies", detail }];
}
