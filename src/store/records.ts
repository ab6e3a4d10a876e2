import type { SvidKeyType } from "../spiffe/svid-key-type.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { Selector } from "../spiffe/selector.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** What an operator says about an identity: which selectors, seen by which parent, earn which SPIFFE ID. */
export interface EntryContent {
  readonly spiffeId: SpiffeId;
  readonly parentId: SpiffeId;
  /** Canonical: sorted, each once, at least one. */
  readonly selectors: readonly Selector[];
  /** Seconds, 0 for the server's default. */
  readonly x509SvidTtl: number;
  /** Seconds, 0 for the server's default. */
  readonly jwtSvidTtl: number;
  /** Foreign trust domains whose bundles the workload gets. Sorted, each once. */
  readonly federatesWith: readonly TrustDomain[];
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly storeSvid: boolean;
  /** Unix seconds after which the entry earns nothing, 0 for never. */
  readonly expiresAt: number;
  /** DNS SANs, in the operator's order; the first is also the subject's common name. */
  readonly dnsNames: readonly string[];
  /** At most 1024 bytes; empty for none. */
  readonly hint: string;
  readonly disableX509SvidPrefetch: boolean;
  readonly jwtSvidIncludeJti: boolean;
  /** Of an entry of tasks: the path of the ID over verified claims; empty where the ID is `spiffeId` itself. */
  readonly idTemplate: string;
  /** Of an entry of tasks: the longest life of a task in seconds, 0 for the server's default. */
  readonly maxTaskDuration: number;
  /** The one type of key that its SVIDs have; empty where any will do. */
  readonly svidKeyType: SvidKeyType | "";
  /** Audiences for which the identity may be exchanged for access tokens. Sorted, each once. */
  readonly exchangeAudiences: readonly string[];
}

/** A registration entry as stored. */
export interface EntryRecord extends EntryContent {
  /** 1 to 255 characters of `a-z A-Z 0-9 . - _`. */
  readonly id: string;
  /** 0 at creation, one more with every update. */
  readonly revision: number;
  /** Unix seconds. */
  readonly createdAt: number;
  /** Grows with every entry created in the store and is never used twice: the order of listings and of identities. */
  readonly ordinal: number;
}

/** A node whose agent has attested. */
export interface NodeRecord {
  readonly id: SpiffeId;
  /** Name of the attestor. */
  readonly attestationType: string;
  readonly selectors: readonly Selector[];
  readonly canReattest: boolean;
  readonly banned: boolean;
  /** Serial of the agent's X509-SVID in lower-case hex; empty when banned. */
  readonly serial: string;
  /** Unix seconds when that SVID expires. */
  readonly expiresAt: number;
  /** Serial that a renewal issued and that has not been used, or empty. */
  readonly pendingSerial: string;
  /** Unix seconds, 0 without a pending serial. */
  readonly pendingExpiresAt: number;
  /** Unix seconds of the last attestation. */
  readonly attestedAt: number;
  /** As the agent last reported it, or empty. */
  readonly agentVersion: string;
  readonly ordinal: number;
}

/** A join token as stored: its hash, never itself. */
export interface JoinTokenRecord {
  /** Lower-case hex SHA-256 of the token. */
  readonly hash: string;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** The SPIFFE ID that becomes an entry for the node when the token is used. */
  readonly aliasId?: SpiffeId;
}

/** What became of an attempt to use a join token. */
export type JoinTokenUse =
  | { readonly outcome: "consumed"; readonly aliasId?: SpiffeId }
  | { readonly outcome: "unknown" | "expired" | "used" };

/** The life of an authority: published, signing, no longer signing, distrusted, gone. */
export type AuthorityState = "prepared" | "active" | "old" | "tainted" | "revoked";

/** What an authority signs: X509-SVIDs, JWT-SVIDs, or WIT-SVIDs. */
export type AuthorityKind = "x509" | "jwt" | "wit";

/** The public half of an authority and where it stands in its life. */
export interface AuthorityRecord {
  /** X.509: subject key id in lower-case hex. JWT and WIT: the `kid`. */
  readonly id: string;
  readonly kind: AuthorityKind;
  readonly state: AuthorityState;
  /** The server that holds the private key. */
  readonly serverId: string;
  /** The key manager's name for the private key. */
  readonly keyId: string;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** X.509: DER certificates from this authority's own up to but without the root; others: empty. */
  readonly chain: readonly Uint8Array[];
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** Unix seconds of the last change of state. */
  readonly changedAt: number;
}

/** Where and how the bundle of a foreign trust domain is fetched (SPIFFE Federation §5). */
export interface FederationRelationshipRecord {
  readonly trustDomain: TrustDomain;
  /** An https URL without user information (§5.2.1.1, §5.2.2.1). */
  readonly bundleEndpointUrl: string;
  /** How the endpoint proves itself. */
  readonly profile:
    | { readonly type: "https_web" }
    | { readonly type: "https_spiffe"; readonly endpointSpiffeId: SpiffeId };
}

/** The newest revocation list of one X.509 authority. */
export interface CrlRecord {
  readonly trustDomain: TrustDomain;
  /** Subject key id of the authority that signed it, lower-case hex. */
  readonly authorityKeyId: string;
  /** DER of a CertificateList (RFC 5280 §5). */
  readonly crl: Uint8Array;
}

/** One thing that changed. Rows are written in the transaction of the change and never altered. */
export interface ChangeRecord {
  /** Grows without repetition; a gap is a change that was rolled back. */
  readonly sequence: number;
  readonly kind:
    | "entry"
    | "node"
    | "authority"
    | "bundle"
    | "federation_relationship"
    | "crl"
    | "task"
    | "credential";
  /**
   * The id of an entry, an authority or a task, the SPIFFE ID of a node, `kind:id` of a credential that was revoked, or the
   * trust domain of what else it is.
   */
  readonly key: string;
  readonly operation: "put" | "delete";
}

/** What is known of a store that was put in the place of another: which backup it is, and what is left to do. */
export interface RestoreRecord {
  /** When it was restored, Unix seconds: what was shown once before may have been used by then. */
  readonly at: number;
  /** When the backup was made, Unix seconds. */
  readonly backupAt: number;
  /** Ids of the authorities of the backup that are to be replaced; empty where they are kept, or are replaced. */
  readonly authorities: readonly string[];
  /** Status lists below this one are from before. */
  readonly statusLists: number;
  /** Whether a server has told its operators. */
  readonly told: boolean;
}

/** What a copy of the store is. */
export interface StoreFacts {
  readonly trustDomain: TrustDomain;
  readonly schemaVersion: number;
  /** Sequence of the own bundle; 0 where there is none yet. */
  readonly bundleSequence: bigint;
  /** Position in the change log. */
  readonly changes: number;
}
