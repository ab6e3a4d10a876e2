import { unixSeconds } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import { pathOf } from "../../spiffe/id.ts";
import { isTaskPath } from "../../spiffe/reserved.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { CredentialRecord } from "../../store/task-store.ts";
import type { Caller } from "../caller.ts";
import { callerFacts } from "../decision.ts";
import type { Held } from "./exchange-token.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import { type Presented, readToken } from "./presented.ts";

/** Who asks for a token to be revoked, as far as that is proved. */
export interface Revoker {
  readonly isOperator: boolean;
  readonly client: Presented | undefined;
  readonly held: Held;
}

/**
 * Revokes a token and everything that was exchanged for it, step by step (RFC 7009 §2.1); the access token of a task ends
 * the task. One that is not ours or has ended already is passed over.
 * @param facts What else the audit record says.
 * @throws AssayError `AUTHORIZATION_DENIED` where it is neither the revoker's own nor the revoker an operator;
 * `STORE_UNAVAILABLE`, `AUDIT_UNAVAILABLE`.
 */
export async function revokeToken(
  options: ExchangeOptions,
  caller: Caller,
  text: string,
  revoker: Revoker,
  facts: Partial<AuditRecord>,
): Promise<void> {
  const token = await ownToken(options, text);
  if (token === undefined) return;
  if (!revoker.isOperator && !isHolder(token, revoker)) {
    throw new AssayError("AUTHORIZATION_DENIED", "the token was not issued to the client");
  }
  const known = await options.credentials.get(token.kind, token.id);
  if (token.kind === "access_token" && isTaskPath(pathOf(token.spiffeId)) && known !== undefined) {
    await options.endTask(caller, known.taskId, revoker.isOperator ? "operator" : "job", facts);
    return;
  }
  const reason = revoker.isOperator ? "operator" : "holder";
  const { kind, id } = token;
  const now = unixSeconds(options.clock);
  const revoked = await options.credentials.revoke({ kind, id }, reason, now, known ?? unwritten(token));
  if (revoked.length > 0) options.audit.append([record(caller, token, known, reason, revoked, facts)]);
}

async function ownToken(options: ExchangeOptions, text: string): Promise<Presented | undefined> {
  try {
    return await readToken(options, text);
  } catch (thrown) {
    const error = toAssayError(thrown);
    if (CODES[error.code].http >= 500) throw error;
    return undefined;
  }
}

function isHolder(token: Presented, { client, held }: Revoker): boolean {
  if (client !== undefined) {
    const owners = [token.spiffeId, token.claims["client_id"]];
    if (owners.includes(client.spiffeId)) return true;
  }
  const { confirmation } = token;
  if (confirmation === undefined) return false;
  return "jkt" in confirmation ? held.jkt === confirmation.jkt : held.x5tS256 === confirmation.x5tS256;
}

/** What is written down of a token of which nothing was written when it was issued. */
function unwritten({ authorityId, spiffeId, issuedAt, expiresAt }: Presented) {
  return { authorityId, spiffeId, entryId: "", taskId: "", parent: "", issuedAt, expiresAt };
}

function record(
  caller: Caller,
  token: Presented,
  known: CredentialRecord | undefined,
  reason: string,
  revoked: readonly CredentialRecord[],
  facts: Partial<AuditRecord>,
): AuditRecord {
  const others = revoked.filter(({ kind, id }) => kind !== token.kind || id !== token.id);
  return {
    event: "token.revoked",
    outcome: "done",
    ...callerFacts(caller),
    ...facts,
    spiffe_id: token.spiffeId,
    jti: token.id,
    authority_id: token.authorityId,
    audience: token.audience,
    reason,
    ...(known !== undefined && known.taskId !== "" && { task_id: known.taskId }),
    ...(known !== undefined && known.entryId !== "" && { entry_id: known.entryId }),
    ...(others.length > 0 && { reasons: others.map(({ kind, id }) => `with it ${kind}:${id}`) }),
  };
}
