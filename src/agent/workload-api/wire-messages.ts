import { concatenatedX509Authorities, type SpiffeBundle } from "../../spiffe/bundle.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import type { BundleState } from "./bundle-state.ts";
import { jwksText } from "./jwks-bytes.ts";
import type { X509State } from "./x509-state.ts";

/** A message about X509-SVIDs, the same for a workload and for a broker (Workload API §5.2.1, Broker API §5.2.1). */
export function x509SvidsMessage(state: X509State) {
  const bundle = concatenatedX509Authorities(state.bundle);
  return {
    svids: state.identities.map(({ entry, svid }) => ({
      spiffeId: svid.spiffeId,
      x509Svid: Buffer.concat(svid.chain),
      x509SvidKey: svid.privateKey,
      bundle,
      hint: entry.hint,
    })),
    federatedBundles: concatenatedByName(state.federated),
    crl: [...state.crls],
  };
}

/**
 * A message about X.509 bundles, or `undefined` while the own trust domain's is empty, which would break clients for good
 * (Workload API §5.2.2, Broker API §5.2.2).
 */
export function x509BundlesMessage({ bundles, crls }: BundleState) {
  if (bundles[0]?.x509Authorities.length === 0) return undefined;
  return { bundles: concatenatedByName(bundles), crl: [...crls] };
}

/** A message about JWT bundles: a JWK Set for each trust domain (Workload API §6.2.2, Broker API §6.2.2). */
export function jwtBundlesMessage({ bundles }: BundleState) {
  return {
    bundles: Object.fromEntries(
      bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), Buffer.from(jwksText(bundle))]),
    ),
  };
}

function concatenatedByName(bundles: readonly SpiffeBundle[]): Record<string, Uint8Array> {
  return Object.fromEntries(
    bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), concatenatedX509Authorities(bundle)]),
  );
}
