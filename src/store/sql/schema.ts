/**
 * sql/ — the queries of the store, written once for every database that speaks SQL through kysely.
 *
 * Must never know which database it talks to: no DDL, no pragma, no driver's error.
 * Called by the folder of each database, which brings a dialect, the tables and the mapping of failures.
 */
import type { Generated } from "kysely";

/** The tables. Flags are 0 or 1; lists are JSON; whole numbers of 64 bits that are not times are decimal text. */
export interface Schema {
  readonly meta: MetaTable;
  readonly entries: EntryTable;
  readonly entry_federations: EntryFederationTable;
  readonly nodes: NodeTable;
  readonly join_tokens: JoinTokenTable;
  readonly authorities: AuthorityTable;
  readonly bundles: BundleTable;
  readonly federation_relationships: FederationRelationshipTable;
  readonly crls: CrlTable;
  readonly tasks: TaskTable;
  readonly task_evidence: TaskEvidenceTable;
  readonly credentials: CredentialTable;
  readonly status_lists: StatusListTable;
  readonly status_places: StatusPlaceTable;
  readonly changes: ChangeTable;
}

/** Single facts about the store as a whole, by name. */
export interface MetaTable {
  readonly name: string;
  readonly value: string;
}

/** Registration entries. `identity` is unique: what makes two entries similar. */
export interface EntryTable {
  readonly ordinal: Generated<number>;
  readonly id: string;
  readonly identity: string;
  readonly spiffe_id: string;
  readonly parent_id: string;
  readonly selectors: string;
  readonly x509_svid_ttl: number;
  readonly jwt_svid_ttl: number;
  readonly federates_with: string;
  readonly admin: number;
  readonly downstream: number;
  readonly store_svid: number;
  readonly expires_at: number;
  readonly dns_names: string;
  readonly hint: string;
  readonly disable_x509_svid_prefetch: number;
  readonly jwt_svid_include_jti: number;
  readonly revision: number;
  readonly created_at: number;
  readonly owner_node: string | null;
  readonly id_template: string;
  readonly max_task_duration: number;
  readonly exchange_audiences: string;
  readonly svid_key_type: string;
}

/** Which entries name which bundle: an index over `entries.federates_with`, and the proof that the bundle exists. */
export interface EntryFederationTable {
  readonly trust_domain: string;
  readonly entry_ordinal: number;
}

/** Attested nodes. */
export interface NodeTable {
  readonly ordinal: Generated<number>;
  readonly id: string;
  readonly attestation_type: string;
  readonly selectors: string;
  readonly can_reattest: number;
  readonly banned: number;
  readonly serial: string;
  readonly expires_at: number;
  readonly pending_serial: string;
  readonly pending_expires_at: number;
  readonly attested_at: number;
  readonly agent_version: string;
}

/** Join tokens, by hash. */
export interface JoinTokenTable {
  readonly hash: string;
  readonly expires_at: number;
  readonly alias_id: string | null;
  readonly used_at: number | null;
}

/** The public halves of authorities. */
export interface AuthorityTable {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly server_id: string;
  readonly key_id: string;
  readonly public_key: string;
  readonly chain: string;
  readonly not_before: number;
  readonly not_after: number;
  readonly changed_at: number;
}

/** Bundles, own and federated. */
export interface BundleTable {
  readonly trust_domain: string;
  readonly sequence: string;
  readonly refresh_hint: number;
  readonly x509_authorities: string;
  readonly jwt_authorities: string;
  readonly wit_authorities: string;
}

/** Where and how bundles of foreign trust domains are fetched. */
export interface FederationRelationshipTable {
  readonly trust_domain: string;
  readonly bundle_endpoint_url: string;
  /** `https_web` or `https_spiffe`. */
  readonly profile: string;
  /** Of `https_spiffe`; empty for `https_web`. */
  readonly endpoint_spiffe_id: string;
}

/** Revocation lists of X.509 authorities, by the authority's subject key id. */
export interface CrlTable {
  readonly trust_domain: string;
  readonly authority_key_id: string;
  readonly crl: string;
}

/** Tasks. `key` is unique: one run is one task. */
export interface TaskTable {
  readonly ordinal: Generated<number>;
  readonly id: string;
  readonly key: string;
  readonly attestor: string;
  readonly platform: string;
  readonly issuer: string;
  readonly description: string;
  readonly granularity: string;
  readonly key_thumbprint: string;
  readonly selectors: string;
  readonly guarded: string;
  readonly claims: string;
  readonly authored_claims: string;
  readonly state: string;
  readonly opened_at: number;
  readonly lease: number;
  readonly lease_expires_at: number;
  readonly hard_end: number;
  readonly ended_at: number;
  readonly end_reason: string;
}

/** Evidence that was used, until it could not be shown again anyway. `replay_key` is unique: each is used once. */
export interface TaskEvidenceTable {
  readonly replay_key: string;
  readonly until: number;
}

/** Issued credentials that can end early, unique by kind and id. */
export interface CredentialTable {
  readonly ordinal: Generated<number>;
  readonly kind: string;
  readonly id: string;
  readonly authority_id: string;
  readonly spiffe_id: string;
  readonly entry_id: string;
  readonly task_id: string;
  readonly parent: string;
  readonly issued_at: number;
  readonly expires_at: number;
  readonly status_list: number | null;
  readonly status_index: number | null;
  readonly revoked_at: number;
  readonly reason: string;
}

/** How many places of each status list are taken. */
export interface StatusListTable {
  readonly list: number;
  readonly taken: number;
}

/** Places of status lists that are taken, and until when. */
export interface StatusPlaceTable {
  readonly list: number;
  readonly place: number;
  readonly expires_at: number;
}

/** The change log. */
export interface ChangeTable {
  readonly sequence: Generated<number>;
  readonly kind: string;
  readonly key: string;
  readonly operation: string;
}
