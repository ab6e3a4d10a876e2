import type { RevocationReason } from "../../spiffe/revocation-reason.ts";
import { type Clock, unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { MAX_AUDIT_SEARCH } from "../../observe/audit-search.ts";
import type { Revocation } from "../../revocation/revocation.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { pathOf, type SpiffeId } from "../../spiffe/id.ts";
import { isTaskPath } from "../../spiffe/reserved.ts";
import type { CredentialRecord } from "../../store/task-store.ts";
import type { AgentOperations } from "./agent-operations.ts";
import { changeRecord, type OperatorCall } from "./operator-call.ts";
import {
  authorityIdOf,
  issuedByRecord,
  type IssuedCredential,
  type IssuedFacts,
  issuedToken,
  issuedX509,
  x509InHand,
} from "./revoke-facts.ts";

/** Which SVID or token is meant. */
export type RevocationTarget =
  /** An X509-SVID by its serial number, lower-case hex. */
  | { readonly serial: string }
  /** An X509-SVID itself, DER. */
  | { readonly certificate: Uint8Array }
  /** An X509-SVID of which nothing is known here: Unix seconds. */
  | (Pick<CredentialRecord, "authorityId" | "spiffeId" | "expiresAt"> & { readonly serial: string })
  /** A token by its id, as in the audit log. */
  | { readonly tokenId: string };

/** What came of a revocation. */
export interface RevokeOutcome {
  /** What was good before; empty where everything was revoked already. */
  readonly revoked: readonly CredentialRecord[];
  /** Whether lists and agents say so by now; else it is on its way and tried again by itself. */
  readonly isPublished: boolean;
  /** Whether there may be more that was not found, since the audit log holds too much of the agent. */
  readonly isIncomplete: boolean;
}

/** What an operator can end before its time. Each may be repeated: what is revoked stays so. */
export interface RevokeOperations {
  /** Ends a task, and with it what was issued to it. @throws AssayError `TASK_NOT_FOUND`. */
  revokeTask(call: OperatorCall, id: string): Promise<RevokeOutcome>;
  /**
   * Revokes one SVID or token, whatever it was issued to, and what was exchanged for it; by the token with which a job speaks
   * for its task the task ends.
   * @throws AssayError `NOT_FOUND` for one of which nothing is known, `PRECONDITION_FAILED` for one that has expired,
   * `INVALID_CERTIFICATE` or `AUTHORITY_NOT_FOUND` for one of a foreign authority.
   */
  revokeCredential(
    call: OperatorCall,
    target: RevocationTarget,
    reason: RevocationReason,
  ): Promise<RevokeOutcome>;
  /**
   * Bans an agent and revokes its own SVID and every SVID that was issued through it and has not expired.
   * @throws AssayError `AGENT_NOT_FOUND`.
   */
  revokeAgent(call: OperatorCall, id: SpiffeId, reason: RevocationReason): Promise<RevokeOutcome>;
}

/** What revoking stands on. */
export interface RevokeOptions extends IssuedFacts {
  readonly revocation: Pick<Revocation, "find" | "revoke">;
  readonly publisher: { settle(): Promise<void> };
  readonly taskIssuance: Pick<TaskIssuance, "end">;
  readonly agents: Pick<AgentOperations, "banAgent">;
  readonly ownBundle: () => SpiffeBundle;
  /** No SVID that was issued until now lives longer, in seconds: how far back the audit log is read for those of an agent. */
  readonly longestLife: () => number;
  readonly clock: Clock;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/** Makes the operations that revoke. All may throw `STORE_UNAVAILABLE` and `AUDIT_UNAVAILABLE`. */
export function revokeOperations(options: RevokeOptions): RevokeOperations {
  const { revocation, publisher, taskIssuance, agents, ownBundle, clock, audit } = options;

  /** What is known of the target, if it is ours. */
  async function issued(target: RevocationTarget): Promise<IssuedCredential> {
    if ("certificate" in target) return x509InHand(target.certificate, ownBundle());
    if ("tokenId" in target) {
      const token = await issuedToken(options, target.tokenId);
      return token ?? unknown(`token ${target.tokenId}`, "its id is its jti, or as the audit log has it");
    }
    const { serial } = target;
    const found = await issuedX509(options, serial);
    if (found !== undefined) return found;
    if ("authorityId" in target) {
      requireOwn(target.authorityId, ownBundle());
      const { authorityId, spiffeId, expiresAt } = target;
      const facts = { authorityId, spiffeId, expiresAt, issuedAt: unixSeconds(clock) };
      return { kind: "x509", id: serial, entryId: "", taskId: "", parent: "", ...facts };
    }
    return unknown(
      `X509-SVID with serial number ${serial}`,
      "give the certificate, or its authority, SPIFFE ID and expiry",
    );
  }

  function recordOf(call: OperatorCall, one: CredentialRecord): AuditRecord {
    const isX509 = one.kind === "x509";
    return changeRecord(isX509 ? "svid.revoked" : "token.revoked", call, {
      spiffe_id: one.spiffeId,
      authority_id: one.authorityId,
      ...(isX509 ? { serial: one.id } : { jti: one.id }),
      ...(one.entryId !== "" && { entry_id: one.entryId }),
      ...(one.taskId !== "" && { task_id: one.taskId }),
      expires_at: one.expiresAt,
      reason: one.reason,
    });
  }

  async function revokeAll(
    call: OperatorCall,
    all: Iterable<IssuedCredential>,
    reason: RevocationReason,
  ): Promise<readonly CredentialRecord[]> {
    const revoked: CredentialRecord[] = [];
    try {
      for (const { kind, id, ...facts } of all) {
        revoked.push(...(await revocation.revoke({ kind, id }, reason, facts)));
      }
    } finally {
      // What was done before something failed has its records too.
      if (revoked.length > 0) audit.append(revoked.map((one) => recordOf(call, one)));
    }
    return revoked;
  }

  async function isPublished(): Promise<boolean> {
    try {
      await publisher.settle();
      return true;
    } catch {
      return false;
    }
  }

  async function endTask(call: OperatorCall, id: string): Promise<RevokeOutcome> {
    const { caller, method, requestId } = call;
    const facts = { method, ...(requestId !== undefined && { request_id: requestId }) };
    const { revoked } = await taskIssuance.end(caller, id, "operator", facts);
    return { revoked, isPublished: await isPublished(), isIncomplete: false };
  }

  return {
    revokeTask: endTask,

    async revokeCredential(call, target, reason) {
      const credential = await issued(target);
      const isDone = revocation.find(credential.kind, credential.id) !== undefined;
      if (!isDone && credential.expiresAt <= unixSeconds(clock)) {
        const end = new Date(credential.expiresAt * 1000).toISOString();
        throw new AssayError("PRECONDITION_FAILED", `it expired at ${end}: nobody takes it any more`);
      }
      // The task API asks whether the task lives, and no list.
      const isTaskToken = credential.kind === "access_token" && isTaskPath(pathOf(credential.spiffeId));
      if (isTaskToken && credential.taskId !== "") return endTask(call, credential.taskId);
      const revoked = await revokeAll(call, [credential], reason);
      return { revoked, isPublished: await isPublished(), isIncomplete: false };
    },

    async revokeAgent(call, id, reason) {
      // First of all: nothing new is issued through it while what was issued is looked for.
      await agents.banAgent(call, id);
      const now = unixSeconds(clock);
      const since = now - options.longestLife();
      // The agent's own SVIDs are among them.
      const match = { field: "agent_id", value: id, since } as const;
      const records = await options.searchAudit(match, MAX_AUDIT_SEARCH);
      const found = new Map<string, IssuedCredential>();
      for (const record of records) {
        const one = issuedByRecord(record);
        if (one !== undefined && one.expiresAt > now) found.set(`${one.kind}:${one.id}`, one);
      }
      const revoked = await revokeAll(call, found.values(), reason);
      return {
        revoked,
        isPublished: await isPublished(),
        isIncomplete: records.length >= MAX_AUDIT_SEARCH,
      };
    },
  };
}

function requireOwn(authorityId: string, { x509Authorities, trustDomain }: SpiffeBundle): void {
  const ids = x509Authorities.map(({ certificate }) => authorityIdOf(certificate));
  if (ids.includes(authorityId)) return;
  throw new AssayError("AUTHORITY_NOT_FOUND", `${trustDomain} has no X.509 authority ${authorityId}`);
}

function unknown(what: string, remedy: string): never {
  throw new AssayError(
    "NOT_FOUND",
    `nothing is known of a ${what}, neither in the store nor in the audit log: ${remedy}`,
  );
}
