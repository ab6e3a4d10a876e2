import { type Clock, unixSeconds } from "../clock.ts";
import { parseBundleDocument } from "../crypto/bundle-document.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { validateX509Svid } from "../crypto/x509-svid.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Outbound } from "../outbound/outbound.ts";
import type { ServerProof } from "../outbound/server-proof.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { type SpiffeId, trustDomainOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";
import { parseEndpointUrl } from "./relationship.ts";

/** What fetching stands on. */
export interface BundleFetchOptions {
  readonly clock: Clock;
  readonly outbound: Outbound;
  /** The newest bundle of a trust domain, the own one among them; read anew for each fetch. */
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  /** The CAs that endpoints of the profile `https_web` may chain to, PEM. */
  readonly webAuthorities: readonly string[];
  /** Whether redirects are followed (SPIFFE Federation §7.5.1). */
  readonly followRedirects: boolean;
}

/** A bundle as an endpoint served it. */
export interface FetchedBundle {
  readonly bundle: SpiffeBundle;
  /** The address that served it. */
  readonly address: string;
  readonly redirects: number;
}

/**
 * Fetches the bundle of a relationship from the URL configured, never from one that an earlier fetch was led to
 * (SPIFFE Federation §5.2.1.4, §5.2.2.4).
 * @throws AssayError `BUNDLE_NOT_FETCHED` saying why, without what the endpoint sent.
 */
export async function fetchBundle(
  relationship: FederationRelationshipRecord,
  options: BundleFetchOptions,
  signal?: AbortSignal,
): Promise<FetchedBundle> {
  try {
    const answer = await options.outbound.get({
      url: parseEndpointUrl(relationship.bundleEndpointUrl),
      proof: proofOf(relationship.profile, options),
      maxRedirects: options.followRedirects ? MAX_REDIRECTS : 0,
      maxBytes: MAX_BUNDLE_BYTES,
      timeout: TIMEOUT,
      ...(signal !== undefined && { signal }),
    });
    const { address, redirects } = answer;
    return { bundle: parseBundleDocument(relationship.trustDomain, answer.body), address, redirects };
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("BUNDLE_NOT_FETCHED", error.detail, { cause: error });
  }
}

function proofOf(profile: FederationRelationshipRecord["profile"], options: BundleFetchOptions): ServerProof {
  switch (profile.type) {
    case "https_web":
      return { kind: "web", authorities: options.webAuthorities };
    case "https_spiffe":
      return svidProof(profile.endpointSpiffeId, options);
    default:
      throw new AssayError("INVALID_RELATIONSHIP", "the profile of the relationship is unknown");
  }
}

/** An X509-SVID of exactly this ID, valid by the newest bundle of its trust domain and by no other (§5.2.2.4). */
function svidProof(endpoint: SpiffeId, { bundleOf, clock }: BundleFetchOptions): ServerProof {
  const trustDomain = trustDomainOf(endpoint);
  const authorities = (bundleOf(trustDomain)?.x509Authorities ?? []).map(({ certificate }) => certificate);
  if (authorities.length === 0) {
    throw new AssayError(
      "BUNDLE_NOT_FETCHED",
      `there is no X.509 authority of ${trustDomain}, which the endpoint ${endpoint} must be verified with: set its bundle`,
    );
  }
  const roots = authorities.map((certificate) => readCertificate(certificate));
  return {
    kind: "chain",
    authorities,
    verify(chain) {
      const certificates = chain.map((certificate) => readCertificate(certificate));
      const { spiffeId } = validateX509Svid(certificates, roots, unixSeconds(clock));
      if (spiffeId !== endpoint) {
        throw new AssayError("INVALID_CERTIFICATE", `the server is ${spiffeId}, expected ${endpoint}`);
      }
    },
  };
}

const MAX_REDIRECTS = 5;
// About a thousand authorities. What is fetched goes to agents in one message, so it must not outgrow theirs.
const MAX_BUNDLE_BYTES = 1024 * 1024;
const TIMEOUT = 30_000;
