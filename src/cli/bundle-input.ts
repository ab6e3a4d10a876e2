import { parseBundleDocument } from "../crypto/bundle-document.ts";
import { parsePemCertificates } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import {
  type Bundle as BundleService,
  BatchDeleteFederatedBundleRequest_Mode as DeleteMode,
} from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { Bundle, JWTKey, WITKey } from "../proto/gen/spire/api/types/bundle_pb.ts";
import type { ServiceClient } from "../rpc/client.ts";
import { emptyBundle, type JwtAuthorityKey, type SpiffeBundle } from "../spiffe/bundle.ts";
import { parseTrustDomain, type TrustDomain } from "../spiffe/trust-domain.ts";

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

/** All bundles of foreign trust domains. */
export async function foreignBundles(
  service: ServiceClient<typeof BundleService>,
): Promise<readonly Bundle[]> {
  const bundles: Bundle[] = [];
  let pageToken = "";
  do {
    const page = await service.listFederatedBundles({ pageSize: PAGE_SIZE, pageToken });
    bundles.push(...page.bundles);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return bundles;
}

/** A bundle as the wire has it. @throws AssayError `INVALID_TRUST_DOMAIN`. */
export function bundleFromWire(bundle: Bundle): SpiffeBundle {
  return {
    trustDomain: parseTrustDomain(bundle.trustDomain),
    sequence: bundle.sequenceNumber,
    refreshHint: Number(bundle.refreshHint),
    x509Authorities: bundle.x509Authorities.map(({ asn1, tainted }) => ({ certificate: asn1, tainted })),
    jwtAuthorities: bundle.jwtAuthorities.map(keyFromWire),
    witAuthorities: bundle.witAuthorities.map(keyFromWire),
  };
}

function keyFromWire({ keyId, publicKey, expiresAt, tainted }: JWTKey | WITKey): JwtAuthorityKey {
  return { keyId, publicKey, expiresAt: Number(expiresAt), tainted };
}

/** What happens to entries that name a bundle that is deleted, by the words of the command line. */
export const DELETE_MODES = {
  restrict: DeleteMode.RESTRICT,
  dissociate: DeleteMode.DISSOCIATE,
  delete: DeleteMode.DELETE,
} as const;

const PAGE_SIZE = 100;
