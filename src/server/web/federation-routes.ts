import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { FederationStatus } from "../../federation/bundle-poller.ts";
import { parseEndpointUrl, parseProfile, parseRelationship } from "../../federation/relationship.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../../store/records.ts";
import type { FederationOperations } from "../operations/federation-operations.ts";
import { spiffeIdText, timeOutput, timeText, trustDomainText } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** What the routes need. */
export interface FederationRoutesOptions {
  readonly federation: {
    /** Relationships of the configuration, which stand in place of stored ones. */
    readonly configured: readonly FederationRelationshipRecord[];
    statuses(): readonly FederationStatus[];
  };
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  readonly federationOperations: FederationOperations;
}

/** Adds the relationships with foreign trust domains: list, read, create, change, delete, and refresh a bundle. */
export function federationRoutes(
  routes: HttpRoutes,
  options: FederationRoutesOptions,
  guard: OperatorGuard,
): void {
  const { federation, federationOperations: operations, bundleOf } = options;

  const shown = (status: FederationStatus) =>
    relationshipToJson(status, federation.configured.includes(status.relationship), bundleOf);

  function found(trustDomain: TrustDomain): z.output<typeof relationshipSchema> {
    const status = federation.statuses().find(({ relationship }) => relationship.trustDomain === trustDomain);
    if (status !== undefined) return shown(status);
    throw new AssayError("RELATIONSHIP_NOT_FOUND", `there is no federation relationship with ${trustDomain}`);
  }

  routes.get(
    "/v1/federation-relationships",
    {
      schema: {
        ...about("List the relationships with foreign trust domains, and how they fare on this server"),
        response: {
          200: z.object({ federation_relationships: z.array(relationshipSchema) }),
          ...problemResponses(...REFUSALS),
        },
      },
    },
    () => ({ federation_relationships: federation.statuses().map(shown) }),
  );

  routes.get(
    "/v1/federation-relationships/:trust_domain",
    {
      schema: {
        ...about("Read a relationship, and how it fares on this server"),
        params,
        response: { 200: relationshipSchema, ...problemResponses(...FAULTS) },
      },
    },
    ({ params: { trust_domain } }) => found(parseTrustDomainOrId(trust_domain)),
  );

  routes.post(
    "/v1/federation-relationships",
    {
      schema: {
        ...about("Create a relationship"),
        description:
          "Its bundle is fetched at once. For `https_spiffe`, set the bundle of the endpoint's trust domain first: it is what the endpoint is known by.",
        body: createBody,
        response: {
          201: relationshipSchema,
          ...problemResponses(...FAULTS, ...WRITE_FAULTS, "ALREADY_EXISTS"),
        },
      },
    },
    async (request, reply) => {
      const { trust_domain, bundle_endpoint_url, bundle_endpoint_profile: profile } = request.body;
      const relationship = parseRelationship({
        trustDomain: parseTrustDomainOrId(trust_domain),
        bundleEndpointUrl: bundle_endpoint_url,
        profile: profile.type,
        endpointSpiffeId: profile.endpoint_spiffe_id,
      });
      await operations.createRelationship(guard.callOf(request), relationship);
      return reply.code(201).send(found(relationship.trustDomain));
    },
  );

  routes.patch(
    "/v1/federation-relationships/:trust_domain",
    {
      schema: {
        ...about("Change a relationship"),
        params,
        body: changeBody,
        response: { 200: relationshipSchema, ...problemResponses(...FAULTS, ...WRITE_FAULTS) },
      },
    },
    async (request) => {
      const trustDomain = parseTrustDomainOrId(request.params.trust_domain);
      const { bundle_endpoint_url: url, bundle_endpoint_profile: profile } = request.body;
      await operations.updateRelationship(guard.callOf(request), trustDomain, {
        ...(url !== undefined && { bundleEndpointUrl: parseEndpointUrl(url) }),
        ...(profile !== undefined && { profile: parseProfile(profile.type, profile.endpoint_spiffe_id) }),
      });
      return found(trustDomain);
    },
  );

  routes.delete(
    "/v1/federation-relationships/:trust_domain",
    {
      schema: {
        ...about("End a relationship"),
        description: "The bundle stays as it is until it is deleted; it is not refreshed any longer.",
        params,
        response: {
          204: z.null().describe("It is gone"),
          ...problemResponses(...FAULTS, "AUDIT_UNAVAILABLE"),
        },
      },
    },
    async (request, reply) => {
      const trustDomain = parseTrustDomainOrId(request.params.trust_domain);
      await operations.deleteRelationship(guard.callOf(request), trustDomain);
      return reply.code(204).send(null);
    },
  );

  routes.post(
    "/v1/federation-relationships/:trust_domain/refresh",
    {
      schema: {
        ...about("Fetch the bundle of a foreign trust domain now"),
        params,
        response: {
          200: relationshipSchema,
          ...problemResponses(...FAULTS, "BUNDLE_NOT_FETCHED", "AUDIT_UNAVAILABLE"),
        },
      },
    },
    async (request) => {
      const trustDomain = parseTrustDomainOrId(request.params.trust_domain);
      await operations.refreshBundle(guard.callOf(request), trustDomain);
      return found(trustDomain);
    },
  );
}

function relationshipToJson(
  { relationship, lastAttemptAt, lastSuccessAt, lastError, nextAttemptAt }: FederationStatus,
  isConfigured: boolean,
  bundleOf: FederationRoutesOptions["bundleOf"],
): z.output<typeof relationshipSchema> {
  const { trustDomain, bundleEndpointUrl, profile } = relationship;
  const bundle = bundleOf(trustDomain);
  return {
    trust_domain: trustDomain,
    bundle_endpoint_url: bundleEndpointUrl,
    bundle_endpoint_profile:
      profile.type === "https_spiffe"
        ? { type: profile.type, endpoint_spiffe_id: profile.endpointSpiffeId }
        : { type: profile.type },
    source: isConfigured ? "configuration" : "store",
    bundle_sequence: bundle === undefined ? null : String(bundle.sequence),
    last_attempt_at: momentOrNull(lastAttemptAt),
    last_success_at: momentOrNull(lastSuccessAt),
    next_attempt_at: momentOrNull(nextAttemptAt),
    last_error: lastError?.detail ?? null,
  };
}

function momentOrNull(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : timeText(Math.floor(milliseconds / 1000));
}

function about(summary: string) {
  return { tags: ["federation"], summary };
}

const params = z.object({ trust_domain: trustDomainText });

const profileSchema = z
  .strictObject({
    type: z.enum(["https_web", "https_spiffe"]).describe("How the endpoint proves itself"),
    endpoint_spiffe_id: spiffeIdText.optional().describe("SPIFFE ID of the endpoint, for `https_spiffe`"),
  })
  .meta({ id: "BundleEndpointProfile", description: "SPIFFE Federation §5.2" });

const urlText = z
  .string()
  .min(1)
  .max(2048)
  .describe("https URL of the bundle endpoint, without user information");

const createBody = z.strictObject({
  trust_domain: trustDomainText,
  bundle_endpoint_url: urlText,
  bundle_endpoint_profile: profileSchema,
});

const changeBody = z.strictObject({
  bundle_endpoint_url: urlText.optional(),
  bundle_endpoint_profile: profileSchema.optional(),
});

const relationshipSchema = z
  .object({
    trust_domain: z.string(),
    bundle_endpoint_url: z.string(),
    bundle_endpoint_profile: profileSchema,
    source: z
      .enum(["configuration", "store"])
      .describe("Where it is written down; the API changes stored ones"),
    bundle_sequence: z.string().nullable().describe("Of the bundle in force; null where there is none"),
    last_attempt_at: timeOutput.nullable(),
    last_success_at: timeOutput
      .nullable()
      .describe("When the bundle was last found up to date by this server"),
    next_attempt_at: timeOutput.nullable(),
    last_error: z.string().nullable().describe("Why the last attempt failed; null where it did not"),
  })
  .meta({ id: "FederationRelationship", description: "A relationship with a foreign trust domain" });

const REFUSALS = [
  "CALLER_NOT_IDENTIFIED",
  "AUTHORIZATION_DENIED",
  "RATE_LIMITED",
  "STORE_UNAVAILABLE",
] as const;
const FAULTS = ["INVALID_REQUEST", "INVALID_TRUST_DOMAIN", "RELATIONSHIP_NOT_FOUND", ...REFUSALS] as const;
const WRITE_FAULTS = ["INVALID_RELATIONSHIP", "INVALID_SPIFFE_ID", "AUDIT_UNAVAILABLE"] as const;
