import type { z } from "zod";
import { toPem } from "../../crypto/pem.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { trustDomainUri } from "../../spiffe/trust-domain.ts";
import type { BundleState } from "./bundle-state.ts";
import type { jwtSvidsSchema, x509BundleSchema, x509BundlesSchema, x509SvidsSchema } from "./json-schemas.ts";
import type { JwtIdentity } from "./workload-service.ts";
import type { X509State } from "./x509-state.ts";

/** X509-SVIDs as JSON. */
export function x509SvidsJson(state: X509State): z.output<typeof x509SvidsSchema> {
  const bundle = x509BundleJson(state.bundle);
  return {
    svids: state.identities.map(({ entry, svid }) => ({
      spiffe_id: svid.spiffeId,
      hint: entry.hint,
      certificate_chain_pem: pemOf(svid.chain),
      certificate_chain_der: svid.chain.map(base64),
      private_key_pem: toPem("PRIVATE KEY", svid.privateKey),
      private_key_der: base64(svid.privateKey),
      serial_number: svid.serial,
      not_before: timeText(svid.notBefore),
      expires_at: timeText(svid.notAfter),
      bundle,
    })),
    federated_bundles: x509BundleMap(state.federated),
    crls_der: state.crls.map(base64),
  };
}

/** X.509 bundles as JSON, by the trust domain's SPIFFE ID. */
function x509BundleMap(bundles: readonly SpiffeBundle[]): Record<string, z.output<typeof x509BundleSchema>> {
  return Object.fromEntries(
    bundles.map((bundle) => [trustDomainUri(bundle.trustDomain), x509BundleJson(bundle)]),
  );
}

/** JWT-SVIDs as JSON. */
export function jwtSvidsJson(identities: readonly JwtIdentity[]): z.output<typeof jwtSvidsSchema> {
  return {
    svids: identities.map(({ entry, svid }) => ({
      spiffe_id: svid.spiffeId,
      hint: entry.hint,
      svid: svid.token,
      issued_at: timeText(svid.issuedAt),
      expires_at: timeText(svid.expiresAt),
    })),
  };
}

/** X.509 bundles and revocation lists as JSON. */
export function x509BundlesJson({ bundles, crls }: BundleState): z.output<typeof x509BundlesSchema> {
  return { bundles: x509BundleMap(bundles), crls_der: crls.map(base64) };
}

function x509BundleJson({ x509Authorities }: SpiffeBundle): z.output<typeof x509BundleSchema> {
  const certificates = x509Authorities.map(({ certificate }) => certificate);
  return { certificates_pem: pemOf(certificates), certificates_der: certificates.map(base64) };
}

function pemOf(certificates: readonly Uint8Array[]): string {
  return certificates.map((der) => toPem("CERTIFICATE", der)).join("");
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

function timeText(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
}
