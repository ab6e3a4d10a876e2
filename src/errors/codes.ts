/**
 * The code table: the only place that knows which gRPC status and which HTTP status an error has.
 *
 * `audience` says whose eyes the detail of an error is for. With `caller` the detail leaves the process; with
 * `operator` the caller sees only the title and a decision or request id, and the log keeps the rest, so that
 * "attestation failed" and "no entry matched" cannot be told apart from outside.
 */
export interface CodeFacts {
  /** gRPC status, by its name in the gRPC specification. */
  readonly grpc: GrpcStatusName;
  /** HTTP status of the problem document (RFC 9457 §3.1.2). */
  readonly http: number;
  /** One sentence, constant for the code (RFC 9457 §3.1.3 `title`). */
  readonly title: string;
  /** Who may read `detail`. */
  readonly audience: "caller" | "operator";
  /** Whether the same request may succeed later without a change of its content. */
  readonly retry: boolean;
}

/** The gRPC status names that Assay answers with. */
export type GrpcStatusName =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "UNAUTHENTICATED";

const table = {
  // What a caller sent.
  INVALID_SPIFFE_ID: caller("INVALID_ARGUMENT", 400, "The SPIFFE ID is malformed"),
  INVALID_TRUST_DOMAIN: caller("INVALID_ARGUMENT", 400, "The trust domain name is malformed"),
  INVALID_SELECTOR: caller("INVALID_ARGUMENT", 400, "The selector is malformed"),
  INVALID_BUNDLE: caller("INVALID_ARGUMENT", 400, "The SPIFFE bundle is malformed"),
  INVALID_CRL: caller("INVALID_ARGUMENT", 400, "The revocation list is not acceptable"),
  INVALID_ENTRY: caller("INVALID_ARGUMENT", 400, "The registration entry is malformed"),
  INVALID_CSR: caller("INVALID_ARGUMENT", 400, "The certificate signing request is malformed"),
  INVALID_CERTIFICATE: caller("INVALID_ARGUMENT", 400, "The certificate is malformed"),
  INVALID_JWT_SVID: caller("INVALID_ARGUMENT", 400, "The JWT-SVID is not valid"),
  INVALID_WIT_SVID: caller("INVALID_ARGUMENT", 400, "The WIT-SVID is not valid"),
  INVALID_ACCESS_TOKEN: caller("UNAUTHENTICATED", 401, "The access token is not valid"),
  INVALID_DPOP_PROOF: caller("UNAUTHENTICATED", 401, "The DPoP proof is not valid"),
  DPOP_NONCE_REQUIRED: caller("UNAUTHENTICATED", 401, "The DPoP proof must hold a nonce of the server"),
  INVALID_STATUS_LIST: caller("INVALID_ARGUMENT", 400, "The status list is not acceptable"),
  EVIDENCE_REPLAYED: caller("INVALID_ARGUMENT", 400, "The evidence has been used before"),
  INVALID_PROOF: caller("INVALID_ARGUMENT", 400, "The proof of possession is not valid"),
  INVALID_AUDIENCE: caller("INVALID_ARGUMENT", 400, "The audience is missing or malformed"),
  INVALID_RELATIONSHIP: caller("INVALID_ARGUMENT", 400, "The federation relationship is malformed"),
  INVALID_URL: caller("INVALID_ARGUMENT", 400, "The URL is malformed or not allowed"),
  INVALID_PAGE_TOKEN: caller("INVALID_ARGUMENT", 400, "The page token is malformed"),
  INVALID_REQUEST: caller("INVALID_ARGUMENT", 400, "The request is malformed"),
  WORKLOAD_REFERENCE_INVALID: caller(
    "INVALID_ARGUMENT",
    400,
    "The reference to a workload is missing or malformed",
  ),
  SECURITY_HEADER_MISSING: caller("INVALID_ARGUMENT", 400, "The security header is missing"),
  MESSAGE_TOO_LARGE: caller("RESOURCE_EXHAUSTED", 413, "The message is larger than allowed"),
  HEADERS_TOO_LARGE: caller("RESOURCE_EXHAUSTED", 431, "The request headers are larger than allowed"),
  METHOD_NOT_ALLOWED: caller("UNIMPLEMENTED", 405, "The resource does not have this method"),
  UNSUPPORTED_MEDIA_TYPE: caller("INVALID_ARGUMENT", 415, "The media type is not supported"),
  REQUEST_TIMEOUT: {
    ...caller("DEADLINE_EXCEEDED", 408, "The request took too long to arrive"),
    retry: true,
  },

  // What is there and what is not.
  NOT_FOUND: caller("NOT_FOUND", 404, "There is no such thing"),
  ENTRY_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such registration entry for the caller"),
  AGENT_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such agent"),
  BUNDLE_NOT_FOUND: caller("NOT_FOUND", 404, "There is no bundle of that trust domain"),
  AUTHORITY_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such authority"),
  CRL_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such revocation list"),
  DECISION_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such decision in the audit log"),
  RELATIONSHIP_NOT_FOUND: caller(
    "NOT_FOUND",
    404,
    "There is no federation relationship with that trust domain",
  ),
  WORKLOAD_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such workload"),
  TASK_NOT_FOUND: caller("NOT_FOUND", 404, "There is no such task"),
  TASK_OVER: caller("FAILED_PRECONDITION", 409, "The task has ended"),
  ALREADY_EXISTS: caller("ALREADY_EXISTS", 409, "It exists already"),
  BUNDLE_IN_USE: caller("FAILED_PRECONDITION", 409, "The bundle is used by registration entries"),
  PRECONDITION_FAILED: caller("FAILED_PRECONDITION", 409, "The present state does not allow it"),
  STALE_REVISION: { ...caller("ABORTED", 412, "It was changed by someone else"), retry: true },

  // Who may do what.
  AUTHORIZATION_DENIED: caller("PERMISSION_DENIED", 403, "The caller may not call this method"),
  CLIENT_REFUSED: caller("UNAUTHENTICATED", 401, "The client could not be authenticated"),
  TARGET_REFUSED: caller("PERMISSION_DENIED", 403, "The identity may not be exchanged for this audience"),
  NO_IDENTITY_ISSUED: { ...caller("PERMISSION_DENIED", 403, "No identity issued"), retry: true },
  WORKLOAD_NOT_ENTITLED: {
    ...caller("PERMISSION_DENIED", 403, "The workload has no identity for the caller"),
    retry: true,
  },
  TASK_KEY_MISMATCH: caller("PERMISSION_DENIED", 403, "The task belongs to another key"),
  AGENT_BANNED: caller("PERMISSION_DENIED", 403, "The agent is banned"),
  AGENT_EXPIRED: caller("PERMISSION_DENIED", 403, "The agent's SVID has expired"),
  AGENT_NOT_ACTIVE: caller("PERMISSION_DENIED", 403, "The agent's SVID is not the active one"),
  AGENT_NOT_ATTESTED: caller("PERMISSION_DENIED", 403, "The agent is not attested"),
  AGENT_MUST_REATTEST: caller("PERMISSION_DENIED", 403, "The agent must attest again"),
  CALLER_NOT_IDENTIFIED: operator("UNAUTHENTICATED", 401, "The caller could not be identified"),
  WEBHOOK_REFUSED: operator("UNAUTHENTICATED", 401, "The message could not be authenticated"),
  ATTESTATION_FAILED: caller("INVALID_ARGUMENT", 400, "The attestation failed"),
  ATTESTOR_UNKNOWN: caller("FAILED_PRECONDITION", 400, "No such attestor is configured"),
  JOIN_TOKEN_INVALID: caller(
    "INVALID_ARGUMENT",
    400,
    "The join token does not exist or has already been used",
  ),
  PEER_REFUSED: caller("PERMISSION_DENIED", 403, "The peer is not authorized"),
  POLICY_DENIED: caller("PERMISSION_DENIED", 403, "Policy does not allow this"),
  RATE_LIMITED: { ...caller("RESOURCE_EXHAUSTED", 429, "Too many requests"), retry: true },
  SIGNING_BUSY: { ...caller("RESOURCE_EXHAUSTED", 503, "Too many SVIDs are under way"), retry: true },

  // What Assay itself could not do.
  UNIMPLEMENTED: caller("UNIMPLEMENTED", 501, "The method is not implemented"),
  CANCELLED: caller("CANCELLED", 499, "The call was cancelled"),
  DEADLINE_EXCEEDED: {
    ...caller("DEADLINE_EXCEEDED", 504, "The call took longer than allowed"),
    retry: true,
  },
  NOT_READY: { ...caller("UNAVAILABLE", 503, "Not ready yet"), retry: true },
  OVERLOADED: { ...caller("UNAVAILABLE", 503, "The caller asks too often"), retry: true },
  SHUTTING_DOWN: { ...caller("UNAVAILABLE", 503, "Shutting down"), retry: true },
  WORKLOAD_ATTESTATION_FAILED: {
    ...operator("UNAVAILABLE", 503, "Workload attestation failed"),
    retry: true,
  },
  STORE_UNAVAILABLE: { ...operator("UNAVAILABLE", 503, "The store cannot be written or read"), retry: true },
  AUDIT_UNAVAILABLE: { ...operator("UNAVAILABLE", 503, "The audit log cannot be written"), retry: true },
  FILE_UNAVAILABLE: { ...operator("UNAVAILABLE", 503, "A file cannot be read or written"), retry: true },
  KEY_UNAVAILABLE: { ...operator("UNAVAILABLE", 503, "The signing key cannot be used"), retry: true },
  COMPOSER_FAILED: operator("UNAVAILABLE", 503, "The content of the SVID could not be composed"),
  UPSTREAM_UNAVAILABLE: {
    ...operator("UNAVAILABLE", 503, "The upstream authority cannot be reached"),
    retry: true,
  },
  UPSTREAM_REFUSED: operator("UNAVAILABLE", 503, "The upstream authority gave nothing that can be used"),
  SERVER_UNAVAILABLE: { ...caller("UNAVAILABLE", 503, "The server cannot be reached"), retry: true },
  REMOTE_UNAVAILABLE: { ...operator("UNAVAILABLE", 502, "A remote server could not be used"), retry: true },
  BUNDLE_NOT_FETCHED: { ...caller("UNAVAILABLE", 502, "The bundle could not be fetched"), retry: true },
  AUTHORITY_EXPIRED: operator("UNAVAILABLE", 503, "There is no authority that could sign"),
  CERTIFICATE_LINT_FAILED: operator("INTERNAL", 500, "The certificate does not fit its profile"),
  INTERNAL: operator("INTERNAL", 500, "An internal error happened"),

  // Start-up: what the person at the keyboard has to mend.
  USAGE: caller("INVALID_ARGUMENT", 400, "The command line is wrong"),
  CONFIG_INVALID: caller("INVALID_ARGUMENT", 400, "The configuration is wrong"),
  STORE_TOO_NEW: caller("FAILED_PRECONDITION", 500, "The store was written by a newer program"),
  BACKUP_INVALID: caller("INVALID_ARGUMENT", 400, "The file is no backup, or a damaged one"),
  STORE_OUTDATED: caller("FAILED_PRECONDITION", 500, "The store is older than what was here before"),
  STORE_IN_USE: caller("FAILED_PRECONDITION", 500, "The store is used by another process"),
  LISTEN_FAILED: caller("FAILED_PRECONDITION", 500, "The listener cannot be opened"),
  KEY_FILE_INVALID: caller("FAILED_PRECONDITION", 500, "The key file cannot be used"),
} as const satisfies Record<string, CodeFacts>;

/** Every error code of Assay. Codes are stable: they appear in logs, audit records and problem documents. */
export type ErrorCode = keyof typeof table;

/** Facts of every code, by code. */
export const CODES: Readonly<Record<ErrorCode, CodeFacts>> = table;

function caller(grpc: GrpcStatusName, http: number, title: string): CodeFacts {
  return { grpc, http, title, audience: "caller", retry: false };
}

function operator(grpc: GrpcStatusName, http: number, title: string): CodeFacts {
  return { grpc, http, title, audience: "operator", retry: false };
}
