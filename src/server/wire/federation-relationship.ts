import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import { parseEndpointUrl, parseProfile } from "../../federation/relationship.ts";
import type {
  FederationRelationship,
  FederationRelationshipMask,
  FederationRelationshipSchema,
} from "../../proto/gen/spire/api/types/federationrelationship_pb.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../../store/records.ts";
import { bundleFromWire, bundleToWire } from "./bundle.ts";

/** A relationship as the wire library takes it. */
export type WireRelationship = MessageInitShape<typeof FederationRelationshipSchema>;

/** What a message says of a relationship, as far as its mask lets it. */
export interface RelationshipInput {
  readonly trustDomain: TrustDomain;
  readonly change: Partial<Omit<FederationRelationshipRecord, "trustDomain">>;
  readonly bundle: SpiffeBundle | undefined;
}

/** Writes a relationship for the wire; a mask that is absent keeps everything. */
export function relationshipToWire(
  { trustDomain, bundleEndpointUrl, profile }: FederationRelationshipRecord,
  bundle: SpiffeBundle | undefined,
  mask: FederationRelationshipMask | undefined,
): WireRelationship {
  return {
    trustDomain,
    ...((mask?.bundleEndpointUrl ?? true) && { bundleEndpointUrl }),
    ...((mask?.bundleEndpointProfile ?? true) && { bundleEndpointProfile: profileToWire(profile) }),
    ...((mask?.trustDomainBundle ?? true) &&
      bundle !== undefined && { trustDomainBundle: bundleToWire(bundle) }),
  };
}

/**
 * Reads a relationship from the wire; what the mask leaves out is not looked at.
 * @throws AssayError `INVALID_TRUST_DOMAIN`, `INVALID_RELATIONSHIP`, `INVALID_SPIFFE_ID`, `INVALID_BUNDLE`.
 */
export function relationshipFromWire(
  wire: FederationRelationship,
  mask?: FederationRelationshipMask,
): RelationshipInput {
  const trustDomain = parseTrustDomainOrId(wire.trustDomain);
  const bundle =
    (mask?.trustDomainBundle ?? true) && wire.trustDomainBundle !== undefined
      ? bundleFromWire(wire.trustDomainBundle)
      : undefined;
  if (bundle !== undefined && bundle.trustDomain !== trustDomain) {
    throw new AssayError(
      "INVALID_RELATIONSHIP",
      `trust domain bundle ("${bundle.trustDomain}") must match the trust domain of the federation relationship ("${trustDomain}")`,
    );
  }
  return {
    trustDomain,
    bundle,
    change: {
      ...((mask?.bundleEndpointUrl ?? true) && {
        bundleEndpointUrl: parseEndpointUrl(wire.bundleEndpointUrl),
      }),
      ...((mask?.bundleEndpointProfile ?? true) && { profile: profileFromWire(wire.bundleEndpointProfile) }),
    },
  };
}

function profileToWire(
  profile: FederationRelationshipRecord["profile"],
): NonNullable<WireRelationship["bundleEndpointProfile"]> {
  return profile.type === "https_spiffe"
    ? { case: "httpsSpiffe", value: { endpointSpiffeId: profile.endpointSpiffeId } }
    : { case: "httpsWeb", value: {} };
}

function profileFromWire(
  profile: FederationRelationship["bundleEndpointProfile"],
): FederationRelationshipRecord["profile"] {
  switch (profile.case) {
    case "httpsWeb":
      return parseProfile("https_web", undefined);
    case "httpsSpiffe":
      return parseProfile("https_spiffe", profile.value.endpointSpiffeId);
    default:
      throw new AssayError(
        "INVALID_RELATIONSHIP",
        "bundle endpoint profile must be https_web or https_spiffe",
      );
  }
}
