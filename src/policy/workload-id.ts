import { isMemberOf, pathOf, type SpiffeId } from "../spiffe/id.ts";
import { isReservedPath } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyReason } from "./decision.ts";

/** What speaks against a SPIFFE ID as a workload's: foreign, without path (X509-SVID §3.1), or the issuer's own. */
export function workloadIdReasons(id: SpiffeId, trustDomain: TrustDomain): readonly PolicyReason[] {
  if (!isMemberOf(id, trustDomain)) {
    return [denies("spiffe-id-member", `${id} is not a member of ${trustDomain}`)];
  }
  const path = pathOf(id);
  if (path === "") return [denies("spiffe-id-path", `${id} has no path, so it names no workload`)];
  if (isReservedPath(path)) return [denies("spiffe-id-reserved", `${path} is kept for the issuer's own use`)];
  return [];
}

function denies(rule: PolicyReason["rule"], detail: string): PolicyReason {
  return { rule, effect: "denies", detail };
}
