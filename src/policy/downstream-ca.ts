import type { KeyType } from "../crypto/spki.ts";
import type { PolicyDecision } from "./decision.ts";
import { decideLifetime, type LifetimeFacts } from "./lifetime.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { keyTypeReasons } from "./workload-id.ts";

/** What a decision about the X.509 authority of a server below this one follows from. */
export interface DownstreamCaQuestion extends Omit<LifetimeFacts, "entryTtl" | "endsBy"> {
  /** Kind of the public key whose possession was proved. */
  readonly keyType: KeyType;
  /** Lifetime of this server's own authorities, for who asks for none. */
  readonly caTtl: number;
}

/**
 * Whether a server below this one may have its X.509 authority signed now, and for how long: as it asks, and no longer than
 * its entry and the authority that signs.
 */
export function decideDownstreamCa(question: DownstreamCaQuestion, options: PolicyOptions): PolicyDecision {
  const { keyType, caTtl, ...lifetime } = question;
  return decideLifetime(lifetime, { defaultTtl: caTtl, maxTtl: 0 }, keyTypeReasons({ keyType }, options));
}
