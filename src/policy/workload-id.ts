import type { SvidKeyType } from "../spiffe/svid-key-type.ts";
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

/** What is known of a public key. */
export interface KeyFacts {
  readonly keyType: KeyType;
  /** Bits of an RSA modulus; only needed where the entry demands a type. */
  readonly keyBits?: number;
  /** The one type that the entry demands; empty or absent where any will do. */
  readonly svidKeyType?: SvidKeyType | "";
}

/** What speaks against a key in an SVID. */
export function keyTypeReasons(
  { keyType, keyBits, svidKeyType = "" }: KeyFacts,
  options: PolicyOptions,
): readonly PolicyReason[] {
  if (!options.keyTypes.includes(keyType)) {
    const detail = `keys of type ${keyType} are not allowed, expected ${options.keyTypes.join(" or ")}`;
    return [denies("key-type", detail)];
  }
  const exact = keyType === "rsa" ? `rsa-${keyBits ?? "of unknown size"}` : keyType;
  if (svidKeyType === "" || svidKeyType === exact) return [];
  return [denies("key-type", `the entry demands keys of type ${svidKeyType}, the key is ${exact}`)];
}

function denies(rule: PolicyReason["rule"], detail: string): PolicyReason {
  return { rule, effect: "denies", detail };
}
