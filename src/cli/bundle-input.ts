import { parseBundleDocument } from "../crypto/bundle-document.ts";
import { parsePemCertificates } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import { BatchDeleteFederatedBundleRequest_Mode as DeleteMode } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { emptyBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** How a bundle is written: X.509 authorities alone as PEM, or the whole JSON document. */
export type BundleFormat = "pem" | "spiffe";

/** A bundle that somebody typed or named a file of; `flag` is where. @throws AssayError `USAGE` naming the flag. */
export function bundleInput(
  trustDomain: TrustDomain,
  content: Uint8Array,
  format: BundleFormat,
  flag: string,
): SpiffeBundle {
  try {
    if (format === "spiffe") return parseBundleDocument(trustDomain, content, { broken: "refuse" });
    const certificates = parsePemCertificates(Buffer.from(content).toString("utf8"));
    return {
      ...emptyBundle(trustDomain),
      x509Authorities: certificates.map(({ der }) => ({ certificate: der, tainted: false })),
    };
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("USAGE", `${flag}: expected a bundle in the format ${format}: ${error.detail}`, {
      cause: error,
    });
  }
}

/** The bundle as a message of the wire. */
export function wireBundle(bundle: SpiffeBundle) {
  return {
    trustDomain: bundle.trustDomain,
    sequenceNumber: bundle.sequence,
    refreshHint: BigInt(bundle.refreshHint),
    x509Authorities: bundle.x509Authorities.map(({ certificate }) => ({ asn1: certificate })),
    jwtAuthorities: bundle.jwtAuthorities.map(({ keyId, publicKey }) => ({ keyId, publicKey })),
    witAuthorities: bundle.witAuthorities.map(({ keyId, publicKey }) => ({ keyId, publicKey })),
  };
}

/** What happens to entries that name a bundle that is deleted, by the words of the command line. */
export const DELETE_MODES = {
  restrict: DeleteMode.RESTRICT,
  dissociate: DeleteMode.DISSOCIATE,
  delete: DeleteMode.DELETE,
} as const;
