import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { TrustDomain as TrustDomainService } from "../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import type { FederationRelationshipMask } from "../../proto/gen/spire/api/types/federationrelationship_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { ServerCall } from "../call.ts";
import { storedRelationships } from "../federation/federation.ts";
import type { FederationOperations } from "../operations/federation-operations.ts";
import { relationshipFromWire, relationshipToWire } from "../wire/federation-relationship.ts";
import { OK, statusOf } from "../wire/status.ts";
import { operatorCall } from "./operator-call.ts";
import { pageOf } from "./page.ts";

/** What `spire.api.server.trustdomain.v1.TrustDomain` is served with. */
export interface TrustDomainServiceOptions {
  readonly trustDomain: TrustDomain;
  readonly store: Pick<Store, "federation" | "bundles">;
  readonly operations: FederationOperations;
  readonly log: Log;
}

/** Handlers of `spire.api.server.trustdomain.v1.TrustDomain`: the stored relationships, not the configured ones. */
export function trustDomainService(
  options: TrustDomainServiceOptions,
): ServiceHandlers<typeof TrustDomainService, ServerCall> {
  const { trustDomain: own, store, operations, log } = options;

  // An item's failure is part of an answer that succeeds, so nobody else would tell the operator.
  function failed(thrown: unknown, doing: string) {
    const error = toAssayError(thrown);
    if (CODES[error.code].audience === "operator") {
      log.error("federation relationship not changed", { [FIELD.error]: error });
      return statusOf(error);
    }
    return statusOf(new AssayError(error.code, `${doing}: ${error.detail}`, { cause: error }));
  }

  async function shown(
    relationship: FederationRelationshipRecord,
    mask: FederationRelationshipMask | undefined,
  ) {
    const wantsBundle = mask?.trustDomainBundle ?? true;
    const bundle = wantsBundle ? await store.bundles.get(relationship.trustDomain) : undefined;
    return relationshipToWire(relationship, bundle, mask);
  }

  return {
    async listFederationRelationships({ outputMask, pageSize, pageToken }) {
      const all = await storedRelationships(store);
      const page = pageOf(all, ({ trustDomain }) => trustDomain, pageSize, pageToken);
      return {
        federationRelationships: await Promise.all(page.items.map((one) => shown(one, outputMask))),
        nextPageToken: page.nextPageToken,
      };
    },

    async getFederationRelationship({ trustDomain, outputMask }) {
      const relationship = await store.federation.get(parsed(trustDomain));
      if (relationship === undefined) {
        throw new AssayError("RELATIONSHIP_NOT_FOUND", "federation relationship does not exist");
      }
      return shown(relationship, outputMask);
    },

    async batchCreateFederationRelationship({ federationRelationships, outputMask }, context) {
      const results = [];
      for (const wire of federationRelationships) {
        try {
          const { trustDomain, change, bundle } = converted(() => relationshipFromWire(wire));
          const { bundleEndpointUrl, profile } = change;
          if (trustDomain === own) {
            throw new AssayError(
              "INVALID_RELATIONSHIP",
              "unable to create federation relationship for server trust domain",
            );
          }
          if (bundleEndpointUrl === undefined || profile === undefined) {
            throw new AssayError("INTERNAL", "a relationship was read in part");
          }
          const relationship = { trustDomain, bundleEndpointUrl, profile };
          const stored = await operations.createRelationship(operatorCall(context), relationship, bundle);
          results.push({ status: OK, federationRelationship: await shown(stored, outputMask) });
        } catch (error) {
          results.push({ status: failed(error, "failed to create federation relationship") });
        }
      }
      return { results };
    },

    async batchUpdateFederationRelationship({ federationRelationships, inputMask, outputMask }, context) {
      const results = [];
      for (const wire of federationRelationships) {
        try {
          const { trustDomain, change, bundle } = converted(() => relationshipFromWire(wire, inputMask));
          const stored = await operations.updateRelationship(
            operatorCall(context),
            trustDomain,
            change,
            bundle,
          );
          results.push({ status: OK, federationRelationship: await shown(stored, outputMask) });
        } catch (error) {
          results.push({ status: failed(error, "failed to update federation relationship") });
        }
      }
      return { results };
    },

    async batchDeleteFederationRelationship({ trustDomains }, context) {
      const results = [];
      for (const trustDomain of trustDomains) {
        try {
          if (trustDomain === "") throw new AssayError("INVALID_TRUST_DOMAIN", "missing trust domain");
          await operations.deleteRelationship(operatorCall(context), parsed(trustDomain));
          results.push({ status: OK, trustDomain });
        } catch (error) {
          results.push({ status: failed(error, "failed to delete federation relationship"), trustDomain });
        }
      }
      return { results };
    },

    async refreshBundle({ trustDomain }, context) {
      try {
        await operations.refreshBundle(operatorCall(context), parsed(trustDomain));
      } catch (error) {
        if (!(error instanceof AssayError) || error.code !== "BUNDLE_NOT_FETCHED") throw error;
        throw new AssayError(error.code, `failed to refresh bundle: ${error.detail}`, { cause: error });
      }
      return {};
    },
  };
}

function parsed(text: string): TrustDomain {
  return prefixed("failed to parse trust domain", () => parseTrustDomainOrId(text));
}

function converted<Value>(convert: () => Value): Value {
  return prefixed("failed to convert federation relationship", convert);
}

function prefixed<Value>(doing: string, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError(error.code, `${doing}: ${error.detail}`, { cause: error });
  }
}
