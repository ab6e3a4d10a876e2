import type { KeyType } from "../crypto/spki.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyDecision, PolicyReason } from "./decision.ts";
import { decideLifetime, type LifetimeFacts } from "./lifetime.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { type KeyFacts, keyTypeReasons, workloadIdReasons } from "./workload-id.ts";

/** What a decision about a workload's X509-SVID follows from. */
export interface X509SvidQuestion extends LifetimeFacts, KeyFacts {
  readonly trustDomain: TrustDomain;
  readonly spiffeId: SpiffeId;
  /** DNS SANs: the entry's, or an administrator's own. */
  readonly dnsNames: readonly string[];
}

/** Whether a workload may have this X509-SVID now, and for how long. */
export function decideX509Svid(question: X509SvidQuestion, options: PolicyOptions): PolicyDecision {
  const reasons = [
    ...workloadIdReasons(question.spiffeId, question.trustDomain),
    ...keyTypeReasons(question, options),
    ...dnsNameReasons(question.dnsNames),
  ];
  return decideLifetime(
    question,
    { defaultTtl: options.defaultX509SvidTtl, maxTtl: options.maxX509SvidTtl },
    reasons,
  );
}

/** What a decision about an agent's X509-SVID follows from. */
export interface AgentSvidQuestion {
  /** Unix seconds. */
  readonly now: number;
  /** End of the authority that will sign, in Unix seconds. */
  readonly authorityNotAfter: number;
  readonly keyType: KeyType;
}

/** Whether an attested agent may have its X509-SVID now, and for how long. */
export function decideAgentSvid(question: AgentSvidQuestion, options: PolicyOptions): PolicyDecision {
  return decideLifetime(
    { now: question.now, authorityNotAfter: question.authorityNotAfter },
    { defaultTtl: options.agentTtl, maxTtl: options.maxX509SvidTtl },
    keyTypeReasons(question, options),
  );
}

function dnsNameReasons(dnsNames: readonly string[]): readonly PolicyReason[] {
  const reasons: PolicyReason[] = [];
  if (dnsNames.length > MAX_DNS_NAMES) {
    const detail = `${dnsNames.length} DNS names, at most ${MAX_DNS_NAMES} are allowed`;
    reasons.push({ rule: "dns-name-count", effect: "denies", detail });
  }
  const wrong = dnsNames.find((name) => name.length > MAX_DNS_NAME || !DNS_NAME.test(name));
  if (wrong !== undefined) {
    const detail = `${JSON.stringify(wrong.slice(0, MAX_DNS_NAME))} is not a DNS name`;
    reasons.push({ rule: "dns-name", effect: "denies", detail });
  }
  return reasons;
}

const MAX_DNS_NAMES = 256;
const MAX_DNS_NAME = 253;
// Labels of RFC 1123 and, as service discovery has them, with underscores; a wildcard only as the whole first label.
const LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const DNS_NAME = new RegExp(`^(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*$`);
