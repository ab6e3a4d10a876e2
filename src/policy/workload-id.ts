import type { KeyType } from "../crypto/spki.ts";
import { isMemberOf, pathOf, type SpiffeId } from "../spiffe/id.ts";
import { isReservedPath } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { PolicyReason } from "./decision.ts";
import type { PolicyOptions } from "./policy-options.ts";

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

/** What speaks against a kind of key in an SVID. */
export function keyTypeReasons(keyType: KeyType, options: PolicyOptions): readonly PolicyReason[] {
  if (options.keyTypes.includes(keyType)) return [];
  const detail = `keys of type ${keyType} are not allowed, expected ${options.keyTypes.join(" or ")}`;
  return [denies("key-type", detail)];
}

function denies(rule: PolicyReason["rule"], detail: string): PolicyReason {
  return { rule, effect: "denies", detail };
}
