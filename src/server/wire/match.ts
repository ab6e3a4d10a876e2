import { AssayError } from "../../errors/assay-error.ts";
import {
  type FederatesWithMatch,
  FederatesWithMatch_MatchBehavior as FederatesBehavior,
} from "../../proto/gen/spire/api/types/federateswith_pb.ts";
import {
  type SelectorMatch,
  SelectorMatch_MatchBehavior as SelectorBehavior,
} from "../../proto/gen/spire/api/types/selector_pb.ts";
import type { SetMatch } from "../../registry/set-match.ts";
import { type Selector, selectorOf } from "../../spiffe/selector.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";

/** Selectors to compare with, and how. */
export interface SelectorsToMatch {
  readonly selectors: readonly Selector[];
  readonly match: SetMatch;
}

/** Trust domains to compare with, and how. */
export interface TrustDomainsToMatch {
  readonly trustDomains: readonly TrustDomain[];
  readonly match: SetMatch;
}

/** Reads a filter by selectors. @throws AssayError `INVALID_SELECTOR`, `INVALID_REQUEST` for an empty list. */
export function selectorMatchFromWire({ selectors, match }: SelectorMatch): SelectorsToMatch {
  if (selectors.length === 0)
    throw new AssayError("INVALID_REQUEST", "malformed selector match: empty selector set");
  return {
    selectors: selectors.map(({ type, value }) => selectorOf(type, value)),
    match: behavior(BY_SELECTOR, match),
  };
}

/** Reads a filter by trust domains. @throws AssayError `INVALID_TRUST_DOMAIN`, `INVALID_REQUEST` for an empty list. */
export function federatesWithMatchFromWire({ trustDomains, match }: FederatesWithMatch): TrustDomainsToMatch {
  if (trustDomains.length === 0) {
    throw new AssayError("INVALID_REQUEST", "malformed federates with match: empty trust domain set");
  }
  return { trustDomains: trustDomains.map(parseTrustDomainOrId), match: behavior(BY_FEDERATION, match) };
}

function behavior<Key>(table: ReadonlyMap<Key, SetMatch>, key: Key): SetMatch {
  const found = table.get(key);
  if (found === undefined)
    throw new AssayError("INVALID_REQUEST", "match: expected EXACT, SUBSET, SUPERSET or ANY");
  return found;
}

const BY_SELECTOR = new Map<SelectorBehavior, SetMatch>([
  [SelectorBehavior.MATCH_EXACT, "exact"],
  [SelectorBehavior.MATCH_SUBSET, "subset"],
  [SelectorBehavior.MATCH_SUPERSET, "superset"],
  [SelectorBehavior.MATCH_ANY, "any"],
]);
const BY_FEDERATION = new Map<FederatesBehavior, SetMatch>([
  [FederatesBehavior.MATCH_EXACT, "exact"],
  [FederatesBehavior.MATCH_SUBSET, "subset"],
  [FederatesBehavior.MATCH_SUPERSET, "superset"],
  [FederatesBehavior.MATCH_ANY, "any"],
]);
