import { pathOf, type SpiffeId, trustDomainOf, tryParseSpiffeId } from "../../spiffe/id.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { SdsSettings } from "./sds-settings.ts";

/** What a secret's name stands for. */
export type NamedSecret =
  | { readonly kind: "default_svid" }
  | { readonly kind: "svid"; readonly spiffeId: SpiffeId }
  | { readonly kind: "own_bundle" }
  | { readonly kind: "bundle"; readonly trustDomain: TrustDomain }
  | { readonly kind: "all_bundles" }
  /** A name that never stands for anything. */
  | { readonly kind: "unknown" };

/** What a name stands for: one of the settings' three, a SPIFFE ID, or a trust domain's ID (without a path). */
export function readSecretName(name: string, settings: SdsSettings): NamedSecret {
  if (name === settings.defaultSvidName) return { kind: "default_svid" };
  if (name === settings.defaultBundleName) return { kind: "own_bundle" };
  if (name === settings.defaultAllBundlesName) return { kind: "all_bundles" };
  const spiffeId = tryParseSpiffeId(name);
  if (spiffeId === undefined) return { kind: "unknown" };
  return pathOf(spiffeId) === ""
    ? { kind: "bundle", trustDomain: trustDomainOf(spiffeId) }
    : { kind: "svid", spiffeId };
}
