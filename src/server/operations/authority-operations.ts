import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { Signing, UpstreamRoot } from "../../signing/signing.ts";
import type { AuthorityKind, AuthorityRecord } from "../../store/records.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";

/** Authorities, as far as an operator moves them. */
export type OperatedAuthorities = Pick<
  Signing,
  | "prepareAuthority"
  | "activateAuthority"
  | "taintAuthority"
  | "revokeAuthority"
  | "taintUpstreamAuthority"
  | "revokeUpstreamAuthority"
>;

/** Changes of authorities. All throw `UNIMPLEMENTED` for a kind that is switched off. */
export interface AuthorityOperations {
  /** Makes the next authority and publishes it. @throws AssayError `KEY_UNAVAILABLE`. */
  prepareAuthority(call: OperatorCall, kind: AuthorityKind): Promise<AuthorityRecord>;
  /** Lets the prepared authority sign. @throws AssayError `AUTHORITY_NOT_FOUND`. */
  activateAuthority(call: OperatorCall, kind: AuthorityKind, id: string): Promise<AuthorityRecord>;
  /** Marks an old authority: what it signed is to be replaced. @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED`. */
  taintAuthority(call: OperatorCall, kind: AuthorityKind, id: string): Promise<AuthorityRecord>;
  /** Takes a tainted authority out of the bundle. @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED`. */
  revokeAuthority(call: OperatorCall, kind: AuthorityKind, id: string): Promise<AuthorityRecord>;
  /** Marks a root upstream: what chains to it is to be replaced. @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED`. */
  taintUpstreamAuthority(call: OperatorCall, subjectKeyId: string): Promise<UpstreamRoot>;
  /** Takes a tainted root upstream out of the bundle. @throws AssayError `AUTHORITY_NOT_FOUND`, `PRECONDITION_FAILED`. */
  revokeUpstreamAuthority(call: OperatorCall, subjectKeyId: string): Promise<UpstreamRoot>;
}

/** Makes the operations on authorities. */
export function authorityOperations(options: {
  readonly signing: OperatedAuthorities;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}): AuthorityOperations {
  const { signing, audit } = options;

  function written(event: AuditEvent, call: OperatorCall, authority: AuthorityRecord): AuthorityRecord {
    audit.append([
      changeRecord(event, call, {
        authority_id: authority.id,
        expires_at: authority.notAfter,
        reasons: [authority.kind],
      }),
    ]);
    return authority;
  }

  function writtenUpstream(event: AuditEvent, call: OperatorCall, root: UpstreamRoot): UpstreamRoot {
    audit.append([
      changeRecord(event, call, {
        authority_id: root.id,
        expires_at: root.notAfter,
        reasons: ["upstream"],
      }),
    ]);
    return root;
  }

  return {
    prepareAuthority: async (call, kind) =>
      written("authority.prepared", call, await signing.prepareAuthority(kind)),
    activateAuthority: async (call, kind, id) =>
      written("authority.activated", call, await signing.activateAuthority(kind, id)),
    taintAuthority: async (call, kind, id) =>
      written("authority.tainted", call, await signing.taintAuthority(kind, id)),
    revokeAuthority: async (call, kind, id) =>
      written("authority.revoked", call, await signing.revokeAuthority(kind, id)),
    taintUpstreamAuthority: async (call, id) =>
      writtenUpstream("authority.tainted", call, await signing.taintUpstreamAuthority(id)),
    revokeUpstreamAuthority: async (call, id) =>
      writtenUpstream("authority.revoked", call, await signing.revokeUpstreamAuthority(id)),
  };
}
