import { SVID_KEY_TYPES } from "../../spiffe/svid-key-type.ts";
import { z } from "zod";
import type { TaskIdentity } from "../../registry/task-identities.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { CredentialRecord, TaskRecord } from "../../store/task-store.ts";
import { timeOutput, timeText, timeTextOrNull } from "../web/json-values.ts";

/** An identity of a task. */
export const taskIdentitySchema = z
  .object({
    spiffe_id: z.string().describe("SPIFFE ID"),
    hint: z.string().describe("The entry's hint, by which identities are told apart; may be empty"),
    svid_key_type: z
      .enum(["", ...SVID_KEY_TYPES])
      .describe("The one type of key that its SVIDs have; empty where any will do"),
  })
  .meta({ id: "TaskIdentity", description: "An identity that a task has earned" });

const life = {
  id: z.string().describe("Id of the task, a UUID"),
  state: z
    .enum(["active", "ending", "ended"])
    .describe("`ending`: nothing is issued any more, and not everybody may have been told"),
  lease: z.int().describe("How long a heartbeat is good for, seconds"),
  lease_expires_at: timeOutput,
  hard_end: timeOutput.describe("Nothing keeps the task alive beyond this"),
};

/** A task as its job sees it. */
export const ownTaskSchema = z
  .object({
    ...life,
    attestor: z.string().describe("Name of the attestor that took the evidence"),
    platform: z.string().describe("Kind of platform"),
    description: z.string().describe("The run in words"),
    opened_at: timeOutput,
    identities: z.array(taskIdentitySchema).describe("The first is the default"),
  })
  .meta({ id: "OwnTask", description: "A task, as its job sees it" });

/** How long a task has still got. */
export const taskLifeSchema = z
  .object(life)
  .meta({ id: "TaskLife", description: "How long a task lives still" });

/** A task as an operator sees it. */
export const taskSchema = z
  .object({
    ...life,
    attestor: z.string().describe("Name of the attestor that took the evidence"),
    platform: z.string().describe("Kind of platform"),
    issuer: z.string().describe("Who vouches for the run: the `iss` of its token"),
    description: z.string().describe("The run in words"),
    granularity: z.enum(["job", "run"]).describe("Whether the task is one job, or a run of several"),
    key_thumbprint: z.string().describe("Thumbprint of the key that the task is bound to (RFC 7638)"),
    selectors: z.array(z.string()).describe("What attestation found, `type:value`"),
    guarded_selectors: z.array(z.string()).describe("Those that an entry must name to give anything"),
    claims: z.record(z.string(), z.string()).describe("What the platform vouches for"),
    author_claims: z.record(z.string(), z.string()).describe("What the job's authors can choose"),
    opened_at: timeOutput,
    ended_at: timeOutput.nullable(),
    end_reason: z
      .enum(["job", "lease", "cap", "operator", "platform"])
      .nullable()
      .describe("Who or what ended it"),
    identities: z.array(taskIdentitySchema).describe("What the entries give it now; empty once it is over"),
  })
  .meta({ id: "Task", description: "One run with an identity that ends with it" });

/** Something that was issued to a task, without what it is worth. */
export const taskCredentialSchema = z
  .object({
    kind: z.enum(["x509", "jwt", "wit", "access_token"]).describe("What it is"),
    id: z.string().describe("Serial number in hex, or token id as in the audit log"),
    authority_id: z.string().describe("The authority that signed it"),
    spiffe_id: z.string().describe("SPIFFE ID that it is for"),
    entry_id: z.string().describe("Registration entry that earned it; empty where none did"),
    parent: z.string().describe("`kind:id` of what it was exchanged for; empty where it was not"),
    issued_at: timeOutput,
    expires_at: timeOutput,
    revoked_at: timeOutput.nullable(),
    reason: z.string().nullable().describe("Why it was revoked"),
  })
  .meta({ id: "TaskCredential", description: "Something that was issued to a task" });

/** How long a task has still got, for an answer. */
export function taskLifeToJson(task: TaskRecord): z.output<typeof taskLifeSchema> {
  return {
    id: task.id,
    state: task.state,
    lease: task.lease,
    lease_expires_at: timeText(task.leaseExpiresAt),
    hard_end: timeText(task.hardEnd),
  };
}

/** A task and what it has earned, for its job. */
export function ownTaskToJson(
  task: TaskRecord,
  identities: readonly TaskIdentity[],
): z.output<typeof ownTaskSchema> {
  return {
    ...taskLifeToJson(task),
    attestor: task.attestor,
    platform: task.platform,
    description: task.description,
    opened_at: timeText(task.openedAt),
    identities: identities.map(identityToJson),
  };
}

/** A task for an operator. */
export function taskToJson(
  task: TaskRecord,
  identities: readonly TaskIdentity[],
): z.output<typeof taskSchema> {
  const authored = new Set(task.authoredClaims);
  const claims = (chosen: boolean) =>
    Object.fromEntries(Object.entries(task.claims).filter(([name]) => authored.has(name) === chosen));
  return {
    ...ownTaskToJson(task, identities),
    issuer: task.issuer,
    granularity: task.granularity,
    key_thumbprint: task.keyThumbprint,
    selectors: task.selectors.map(formatSelector),
    guarded_selectors: task.guarded.map(formatSelector),
    claims: claims(false),
    author_claims: claims(true),
    ended_at: timeTextOrNull(task.endedAt),
    end_reason: task.endReason === "" ? null : task.endReason,
  };
}

/** Something that was issued, for an operator. */
export function credentialToJson(credential: CredentialRecord): z.output<typeof taskCredentialSchema> {
  return {
    kind: credential.kind,
    id: credential.id,
    authority_id: credential.authorityId,
    spiffe_id: credential.spiffeId,
    entry_id: credential.entryId,
    parent: credential.parent,
    issued_at: timeText(credential.issuedAt),
    expires_at: timeText(credential.expiresAt),
    revoked_at: timeTextOrNull(credential.revokedAt),
    reason: credential.revokedAt === 0 ? null : credential.reason,
  };
}

function identityToJson({ entry, spiffeId }: TaskIdentity): z.output<typeof taskIdentitySchema> {
  return { spiffe_id: spiffeId, hint: entry.hint, svid_key_type: entry.svidKeyType };
}
