import type { CertificateRevocationList } from "../crypto/crl.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { JwtBundleSource, Updates, WitBundleSource, X509BundleSource } from "./bundles.ts";
import type { BundleSource } from "./trust-bundle.ts";

/** A source of some kinds of bundle. */
export type AnyBundleSource = Updates &
  Partial<Pick<X509BundleSource, "x509Bundles" | "crls">> &
  Partial<Pick<JwtBundleSource, "jwtBundles">> &
  Partial<Pick<WitBundleSource, "witBundles">>;

/**
 * Several sources as one: for each trust domain the first source that has its bundle speaks, so the one that may not be
 * contradicted (the own Workload API, as a rule) comes first. Revocation lists of all apply.
 */
export function combineBundleSources(...sources: readonly AnyBundleSource[]): BundleSource {
  return {
    x509Bundles: () => merge(sources.map((source) => source.x509Bundles?.())),
    jwtBundles: () => merge(sources.map((source) => source.jwtBundles?.())),
    witBundles: () => merge(sources.map((source) => source.witBundles?.())),
    crls: (): readonly CertificateRevocationList[] => sources.flatMap((source) => source.crls?.() ?? []),
    onUpdate: (listener) => {
      const updates = sources.map((source) => source.onUpdate(listener));
      return {
        [Symbol.dispose]: () => {
          for (const update of updates) update[Symbol.dispose]();
        },
      };
    },
  };
}

function merge<Bundle>(
  maps: readonly (ReadonlyMap<TrustDomain, Bundle> | undefined)[],
): ReadonlyMap<TrustDomain, Bundle> {
  // The last entry of a key wins in a map, and the first source shall.
  return new Map(maps.toReversed().flatMap((map) => [...(map ?? [])]));
}
