import type { AuditEvent } from "./audit-events.ts";

/**
 * One decision or change, as it is handed to the audit log. Flat, in snake_case; a field that does not apply is left
 * out. No field may ever hold a token, a key or an SVID: an SVID is named by its serial number or `jti`.
 *
 * Renaming or removing a field is a breaking change for those who read the log.
 */
export interface AuditRecord {
  readonly event: AuditEvent;
  readonly outcome: AuditOutcome;
  readonly decision_id?: string;
  readonly request_id?: string;
  readonly code?: string;
  readonly method?: string;
  readonly caller_id?: string;
  readonly caller_address?: string;
  readonly caller_pid?: number;
  readonly caller_uid?: number;
  readonly caller_gid?: number;
  readonly caller_path?: string;
  readonly reference?: string;
  readonly selectors?: readonly string[];
  readonly entry_id?: string;
  readonly entry_revision?: number;
  readonly parent_id?: string;
  readonly spiffe_id?: string;
  readonly agent_id?: string;
  readonly attestor?: string;
  readonly task_id?: string;
  readonly platform?: string;
  readonly claims?: readonly string[];
  readonly author_claims?: readonly string[];
  readonly act?: readonly string[];
  readonly trust_domain?: string;
  readonly audience?: readonly string[];
  readonly authority_id?: string;
  readonly serial?: string;
  readonly jti?: string;
  readonly expires_at?: number;
  readonly reason?: string;
  readonly reasons?: readonly string[];
}

/** A record as it stands in the file: the log itself adds its place in the chain and the time. */
export interface StoredAuditRecord extends AuditRecord {
  readonly seq: number;
  readonly prev: string;
  readonly time: string;
}

/** How it ended: an SVID left, the caller was refused, Assay could not, or a change was made. */
export const AUDIT_OUTCOMES = ["issued", "denied", "failed", "done"] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

/** What the documentation says about one field. */
export interface AuditFieldFacts {
  readonly type: "string" | "number" | "string[]";
  readonly description: string;
}

/** Every field of a record, in the order of the documentation. */
export const AUDIT_FIELDS: Readonly<Record<keyof StoredAuditRecord, AuditFieldFacts>> = {
  seq: number("Number of the record in its chain, from 1, without gaps, going on over rotated files"),
  prev: text("SHA-256 of the line before, without its newline, in lower-case hex; 64 zeros for the first"),
  time: text("When the record was written, RFC 3339 in UTC with milliseconds"),
  event: text("What happened; one of the events below"),
  outcome: text("`issued`, `denied`, `failed` (Assay could not) or `done` (a change was made)"),
  decision_id: text("Names the decision; what `assay explain decision` takes"),
  request_id: text("Names the request that the decision belongs to"),
  code: text("Error code of a refusal or failure, as in errors.md"),
  method: text("The API method called, `service/Method` for gRPC or `GET /path` for HTTP"),
  caller_id: text("SPIFFE ID that the caller proved"),
  caller_address: text("Network address of the caller, without port"),
  caller_pid: number("Process ID of a local caller, from the kernel"),
  caller_uid: number("Effective user ID of a local caller, from the kernel"),
  caller_gid: number("Effective group ID of a local caller, from the kernel"),
  caller_path: text("Executable of a local caller"),
  reference: text("What the caller named another workload by, where it asked in its place"),
  selectors: list("Selectors that attestation found, `type:value`"),
  entry_id: text("Registration entry that earned the identity, or was changed"),
  entry_revision: number("Revision of that entry"),
  parent_id: text("Parent ID of that entry"),
  spiffe_id: text("SPIFFE ID issued, asked for or changed"),
  agent_id: text("Agent through which the request came, or which was attested or changed"),
  attestor: text("Name of the attestor"),
  task_id: text("Task that the identity belongs to, or that was opened, refused or ended"),
  platform: text("Platform that the task runs on, as its attestor calls it"),
  claims: list("What the platform itself says of the run, `name=value`"),
  author_claims: list("What the run's authors chose, `name=value`: never a ground for a decision"),
  act: list("Who acts for the subject of an access token, the last one first"),
  trust_domain: text("Trust domain of the bundle"),
  audience: list("Audience of a JWT-SVID or access token"),
  authority_id: text("Authority that signed, or whose state changed"),
  serial: text("Serial number of an X509-SVID, lower-case hex"),
  jti: text("`jti` of a JWT-SVID, WIT-SVID or access token"),
  expires_at: number("When what was issued expires, Unix seconds"),
  reason: text("Why a task ended or something was revoked, one word"),
  reasons: list("Why it was decided so: rules that said no and entries that came near, compact"),
};

function text(description: string): AuditFieldFacts {
  return { type: "string", description };
}

function number(description: string): AuditFieldFacts {
  return { type: "number", description };
}

function list(description: string): AuditFieldFacts {
  return { type: "string[]", description };
}
