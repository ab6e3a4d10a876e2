import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../../store/records.ts";
import type { FederationStore } from "../../store/store.ts";
import type { Federation } from "../federation/federation.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** What changes of a relationship: only what is there. */
export type RelationshipChange = Parameters<FederationStore["update"]>[1];

/** Changes of relationships with foreign trust domains. A bundle that comes along is set whatever was stored. */
export interface FederationOperations {
  /** @throws AssayError `INVALID_RELATIONSHIP`, `ALREADY_EXISTS`. */
  createRelationship(
    call: OperatorCall,
    relationship: FederationRelationshipRecord,
    bundle?: SpiffeBundle,
  ): Promise<FederationRelationshipRecord>;
  /** @throws AssayError `INVALID_RELATIONSHIP`, `RELATIONSHIP_NOT_FOUND`. */
  updateRelationship(
    call: OperatorCall,
    trustDomain: TrustDomain,
    change: RelationshipChange,
    bundle?: SpiffeBundle,
  ): Promise<FederationRelationshipRecord>;
  /** Ends a stored relationship; the bundle stays. @throws AssayError `RELATIONSHIP_NOT_FOUND`. */
  deleteRelationship(call: OperatorCall, trustDomain: TrustDomain): Promise<void>;
  /** Fetches the bundle now. @throws AssayError `RELATIONSHIP_NOT_FOUND`, `BUNDLE_NOT_FETCHED` saying why. */
  refreshBundle(call: OperatorCall, trustDomain: TrustDomain): Promise<void>;
}

/** Makes the operations on relationships. */
export function federationOperations(options: {
  readonly relationships: Pick<FederationStore, "create" | "update" | "delete">;
  readonly federation: Pick<Federation, "reload" | "refresh">;
  /** Brings what is known of bundles to where the store is. */
  readonly catchUp: () => Promise<void>;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): FederationOperations {
  const { relationships, federation, catchUp, audit } = options;

  async function changed(bundle: SpiffeBundle | undefined): Promise<void> {
    // A bundle to begin with must be known before the endpoint is asked that it vouches for.
    if (bundle !== undefined) await catchUp();
    await federation.reload();
  }

  function record(
    event: "federation.created" | "federation.updated",
    call: OperatorCall,
    { trustDomain, bundleEndpointUrl, profile }: FederationRelationshipRecord,
    bundle: SpiffeBundle | undefined,
  ): void {
    const proof =
      profile.type === "https_spiffe" ? `${profile.type} as ${profile.endpointSpiffeId}` : profile.type;
    audit.append([
      changeRecord(event, call, { trust_domain: trustDomain, reasons: [`${bundleEndpointUrl} by ${proof}`] }),
      ...(bundle === undefined ? [] : [changeRecord("bundle.changed", call, { trust_domain: trustDomain })]),
    ]);
  }

  return {
    async createRelationship(call, relationship, bundle) {
      const stored = await relationships.create(relationship, bundle);
      record("federation.created", call, stored, bundle);
      await changed(bundle);
      return stored;
    },
    async updateRelationship(call, trustDomain, change, bundle) {
      const stored = await relationships.update(trustDomain, change, bundle);
      record("federation.updated", call, stored, bundle);
      await changed(bundle);
      return stored;
    },
    async deleteRelationship(call, trustDomain) {
      await relationships.delete(trustDomain);
      audit.append([changeRecord("federation.deleted", call, { trust_domain: trustDomain })]);
      await changed(undefined);
    },
    async refreshBundle(call, trustDomain) {
      const event = await federation.refresh(trustDomain);
      if (event === undefined) {
        throw new AssayError("RELATIONSHIP_NOT_FOUND", `no relationship with trust domain "${trustDomain}"`);
      }
      audit.append([
        changeRecord("federation.refreshed", call, { trust_domain: trustDomain, reasons: [event.outcome] }),
      ]);
      if ("error" in event) throw event.error;
    },
  };
}
