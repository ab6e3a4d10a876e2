import { unixSeconds } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { parseSpiffeId, pathOf, type SpiffeId } from "../../spiffe/id.ts";
import { isTaskPath, taskInstanceOf } from "../../spiffe/reserved.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { CredentialRecord, TaskRecord } from "../../store/task-store.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import type { Presented } from "./presented.ts";

/** What stands behind something that was shown: an identity that is still earned, or several where it is a task's token. */
export interface PresentedIdentity {
  /** In order of the entries' creation; at least one. */
  readonly earned: readonly { readonly spiffeId: SpiffeId; readonly entry: EntryRecord }[];
  /** The live task that it belongs to. */
  readonly task: TaskRecord | undefined;
  /** Nothing that follows from it may be good for longer, Unix seconds. */
  readonly endsBy: number;
}

type IdentityOptions = Pick<
  ExchangeOptions,
  "trustDomain" | "clock" | "credentials" | "tasks" | "identities" | "entriesOf" | "entry" | "grace"
>;

/**
 * Whether something that was verified is still good, and what it earns now: it is not revoked, its task lives, and an entry
 * gives its identity.
 * @throws AssayError `NO_IDENTITY_ISSUED` saying which of these does not hold, `STORE_UNAVAILABLE`.
 */
export async function identityOf(options: IdentityOptions, shown: Presented): Promise<PresentedIdentity> {
  const { record, task } = await liveCredential(options, shown);
  const earned =
    task !== undefined && isTaskPath(pathOf(shown.spiffeId))
      ? options.identities(task.attestor, task).identities
      : earnedBy(options, shown.spiffeId, record, task);
  if (earned.length === 0) refuse("no registration entry gives the identity any more");
  const endsBy =
    task === undefined ? shown.expiresAt : Math.min(shown.expiresAt, task.leaseExpiresAt + options.grace);
  return { earned, task, endsBy };
}

/**
 * What the outermost actor of a token earns now, who shows nothing of his own.
 * @param task The live task that the token belongs to: the actor's, where he was one.
 * @throws AssayError `NO_IDENTITY_ISSUED`.
 */
export function actorBehind(
  options: IdentityOptions,
  sub: string,
  task: TaskRecord | undefined,
): Pick<PresentedIdentity, "earned"> {
  const earned = earnedBy(options, parseSpiffeId(sub), undefined, task);
  if (earned.length === 0) refuse("no registration entry gives the actor's identity any more");
  return { earned };
}

/**
 * What the store knows of something that was verified, and its task, alive.
 * @throws AssayError `NO_IDENTITY_ISSUED` where it is revoked, its task is over, or it is an access token that was never
 * written down; `STORE_UNAVAILABLE`.
 */
export async function liveCredential(
  { credentials, tasks }: Pick<ExchangeOptions, "credentials"> & { readonly tasks: ExchangeOptions["tasks"] },
  { kind, id }: Presented,
): Promise<{ readonly record: CredentialRecord | undefined; readonly task: TaskRecord | undefined }> {
  const record = await credentials.get(kind, id);
  if (record === undefined && kind === "access_token")
    return refuse("the access token was never written down");
  if (record !== undefined && record.revokedAt !== 0) refuse(`it was revoked (${record.reason})`);
  if (record === undefined || record.taskId === "") return { record, task: undefined };
  try {
    return { record, task: await tasks.active(record.taskId) };
  } catch (thrown) {
    const error = toAssayError(thrown);
    if (error.code === "TASK_OVER" || error.code === "TASK_NOT_FOUND") refuse(error.detail, error);
    throw error;
  }
}

/** The entries that give one identity. What a task was given counts for as long as that very task earns it. */
function earnedBy(
  options: IdentityOptions,
  spiffeId: SpiffeId,
  record: CredentialRecord | undefined,
  task: TaskRecord | undefined,
): PresentedIdentity["earned"] {
  const now = unixSeconds(options.clock);
  const ofTask = task === undefined ? [] : options.identities(task.attestor, task).identities;
  const named = record === undefined || record.entryId === "" ? undefined : record.entryId;
  const isOfTasks = (entry: EntryRecord) => taskInstanceOf(entry.parentId, options.trustDomain) !== undefined;
  const ofWorkloads = (named === undefined ? options.entriesOf(spiffeId) : [options.entry(named)])
    .filter((entry) => entry !== undefined)
    .filter((entry) => entry.spiffeId === spiffeId && !isOfTasks(entry))
    .filter(({ expiresAt }) => expiresAt === 0 || expiresAt > now)
    .toSorted((a, b) => a.ordinal - b.ordinal)
    .map((entry) => ({ spiffeId, entry }));
  const fitting = ofTask.filter(
    (one) => one.spiffeId === spiffeId && (named ?? one.entry.id) === one.entry.id,
  );
  return [...fitting, ...ofWorkloads];
}

function refuse(detail: string, cause?: unknown): never {
  throw new AssayError("NO_IDENTITY_ISSUED", detail, cause === undefined ? {} : { cause });
}
