import { AssayError } from "../errors/assay-error.ts";
import { type HttpsUrl, parseHttpsUrl } from "../outbound/https-url.ts";
import { parseSpiffeId, pathOf, type SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";

/** A relationship as somebody wrote it. */
export interface RelationshipDraft {
  readonly trustDomain: TrustDomain;
  readonly bundleEndpointUrl: string;
  /** `https_web` or `https_spiffe`. */
  readonly profile: string;
  /** Required for `https_spiffe`, and for nothing else. */
  readonly endpointSpiffeId?: string | undefined;
}

/**
 * Checks a relationship before it is stored: URL, profile and trust domain are all given and none is taken from
 * another (SPIFFE Federation §5.1), and `https_spiffe` comes with the ID of the endpoint (§5.2.2.2).
 * @throws AssayError `INVALID_RELATIONSHIP`, `INVALID_SPIFFE_ID`.
 */
export function parseRelationship(draft: RelationshipDraft): FederationRelationshipRecord {
  return {
    trustDomain: draft.trustDomain,
    bundleEndpointUrl: parseEndpointUrl(draft.bundleEndpointUrl),
    profile: parseProfile(draft.profile, draft.endpointSpiffeId),
  };
}

/** Checks the URL of a bundle endpoint (§5.2.1.1, §5.2.2.1). @throws AssayError `INVALID_RELATIONSHIP`. */
export function parseEndpointUrl(text: string): HttpsUrl {
  try {
    return parseHttpsUrl(text);
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("INVALID_RELATIONSHIP", `bundle endpoint ${error.detail}`, { cause: error });
  }
}

/** Checks how an endpoint proves itself. @throws AssayError `INVALID_RELATIONSHIP`, `INVALID_SPIFFE_ID`. */
export function parseProfile(
  type: string,
  endpointSpiffeId: string | undefined,
): FederationRelationshipRecord["profile"] {
  switch (type) {
    case "https_web":
      if (endpointSpiffeId !== undefined && endpointSpiffeId !== "") {
        throw fault("endpoint SPIFFE ID is for the profile https_spiffe only");
      }
      return { type };
    case "https_spiffe":
      return { type, endpointSpiffeId: parseEndpointId(endpointSpiffeId ?? "") };
    default:
      throw fault(
        `bundle endpoint profile must be https_web or https_spiffe, got ${JSON.stringify(type.slice(0, 64))}`,
      );
  }
}

function parseEndpointId(text: string): SpiffeId {
  if (text === "") throw fault("endpoint SPIFFE ID is required for the profile https_spiffe");
  try {
    const id = parseSpiffeId(text);
    // A leaf has a path (X509-SVID §5.2), so no endpoint could ever prove this ID.
    if (pathOf(id) !== "") return id;
  } catch (error) {
    const reason = error instanceof AssayError ? error.detail : "malformed";
    throw new AssayError("INVALID_SPIFFE_ID", `endpoint SPIFFE ID: ${reason}`, { cause: error });
  }
  throw fault("endpoint SPIFFE ID must have a path");
}

function fault(detail: string): AssayError {
  return new AssayError("INVALID_RELATIONSHIP", detail);
}
