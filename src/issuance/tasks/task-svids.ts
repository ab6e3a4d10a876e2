import { unixSeconds } from "../../clock.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { spkiThumbprint } from "../../crypto/jose/thumbprint.ts";
import { readCertificationRequest } from "../../crypto/pkcs10.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { TaskIdentity } from "../../registry/task-identities.ts";
import type { IssuedJwtSvid, IssuedWitSvid, IssuedX509Svid } from "../../signing/signing.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { CredentialRecord, StatusPlace, TaskRecord } from "../../store/task-store.ts";
import type { DecisionFacts } from "../decision.ts";
import { issueOne, type SvidKind, type SvidWanted } from "../entry-svids.ts";
import { jwtFacts, jwtSvidFor } from "../jwt-svids.ts";
import { readWitKey, witFacts, type WitKeyOrder, witSvidFor } from "../wit-svids.ts";
import { issuedFacts, x509SvidFor } from "../x509-svids.ts";
import { identityFacts, nothingEarned, taskFacts } from "./task-audit.ts";
import { type TaskCaller, type TaskIssuanceOptions, taskSubject } from "./task-options.ts";

/** Which of a task's identities is asked for; its default where none is named. */
export interface IdentityChoice {
  readonly spiffeId?: SpiffeId;
}

/** An SVID of a task, and the identity that it is for. */
export interface TaskSvid<Svid> {
  readonly svid: Svid;
  readonly identity: TaskIdentity;
}

/**
 * Issues an X509-SVID to a task. The signing request gives its public key and nothing else. That key need not be the one
 * that the task is bound to: programs that use X509-SVIDs want keys of their own, which they can change at will.
 * @throws AssayError `TASK_OVER`, `NO_IDENTITY_ISSUED`, `INVALID_CSR`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE`,
 * `STORE_UNAVAILABLE` and signing's.
 */
export async function taskX509Svid(
  options: TaskIssuanceOptions,
  caller: TaskCaller,
  order: IdentityChoice & { readonly csr: Uint8Array },
): Promise<TaskSvid<IssuedX509Svid>> {
  return issueToTask(options, X509, caller, order, {}, async ({ entry }, wanted) => {
    const svid = await x509SvidFor(options, readCertificationRequest(order.csr), {
      ...wanted,
      dnsNames: entry.dnsNames,
      entryTtl: entry.x509SvidTtl,
      svidKeyType: entry.svidKeyType,
    });
    const { serial, authorityId, notAfter } = svid;
    return { svid, credential: { kind: "x509", id: serial, authorityId, expiresAt: notAfter } };
  });
}

/**
 * Issues a JWT-SVID to a task, with a claim `task` that names the run, and where asked for one that leads to its status
 * (Token Status List §6).
 * @throws AssayError `TASK_OVER`, `NO_IDENTITY_ISSUED`, `INVALID_AUDIENCE`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE`,
 * `STORE_UNAVAILABLE` and signing's.
 */
export async function taskJwtSvid(
  options: TaskIssuanceOptions,
  caller: TaskCaller,
  order: IdentityChoice & { readonly audience: readonly string[]; readonly status: boolean },
): Promise<TaskSvid<IssuedJwtSvid>> {
  const { audience } = order;
  return issueToTask(options, JWT, caller, order, { audience }, async ({ entry }, wanted, task) => {
    let place: StatusPlace | undefined;
    const svid = await jwtSvidFor(options, parseAudiences(audience), {
      ...wanted,
      entryTtl: entry.jwtSvidTtl,
      includeJti: true,
      async claims(expiresAt) {
        if (order.status) place = await options.credentials.reserveStatus(expiresAt);
        return { task: runClaim(task), ...(place !== undefined && { status: statusClaim(options, place) }) };
      },
    });
    const { tokenId: id, keyId: authorityId, expiresAt } = svid;
    const status = place === undefined ? {} : { status: place };
    return { svid, credential: { kind: "jwt", id, authorityId, expiresAt, ...status } };
  });
}

/**
 * Issues a WIT-SVID to a task. Its key counts as proved where it is the task's own, or where a proof by it comes along.
 * @throws AssayError `TASK_OVER`, `NO_IDENTITY_ISSUED`, `INVALID_REQUEST`, `POLICY_DENIED`, `UNIMPLEMENTED` where
 * WIT-SVIDs are switched off, `AUDIT_UNAVAILABLE`, `STORE_UNAVAILABLE` and signing's.
 */
export async function taskWitSvid(
  options: TaskIssuanceOptions,
  caller: TaskCaller,
  order: IdentityChoice & WitKeyOrder,
): Promise<TaskSvid<IssuedWitSvid>> {
  return issueToTask(options, WIT, caller, order, {}, async ({ entry }, wanted, task) => {
    const key = readWitKey(options, taskSubject(options.trustDomain, task), wanted.spiffeId, order);
    const isOwn = spkiThumbprint(key.publicKey) === task.keyThumbprint;
    const svid = await witSvidFor(
      options,
      { ...key, proved: key.proved || isOwn },
      { ...wanted, entryTtl: entry.x509SvidTtl, svidKeyType: entry.svidKeyType },
    );
    const { jti: id, keyId: authorityId, expiresAt } = svid;
    return { svid, credential: { kind: "wit", id, authorityId, expiresAt } };
  });
}

/** What is known of an SVID for whoever may have to revoke it. */
type TaskCredential = Pick<CredentialRecord, "kind" | "id" | "authorityId" | "expiresAt" | "status">;

/**
 * The line that every SVID of a task walks: alive now, earned now, allowed, signed, written down for revocation, recorded;
 * only then does it leave.
 */
async function issueToTask<Svid extends { readonly spiffeId: SpiffeId }>(
  options: TaskIssuanceOptions,
  { events, facts }: SvidKind<Svid>,
  caller: TaskCaller,
  { spiffeId }: IdentityChoice,
  known: DecisionFacts,
  make: (
    identity: TaskIdentity,
    wanted: SvidWanted & { readonly spiffeId: SpiffeId },
    task: TaskRecord,
  ) => Promise<{ readonly svid: Svid; readonly credential: TaskCredential }>,
): Promise<TaskSvid<Svid>> {
  const kind: SvidKind<TaskSvid<Svid>> = { events, facts: ({ svid }) => facts(svid) };
  return issueOne(options, kind, caller, { ...known, ...taskFacts(caller.task) }, async (draft) => {
    const task = await options.tasks.active(caller.task.id);
    const earned = options.identities(task.attestor, task);
    const identity = earned.identities.find((one) => spiffeId === undefined || one.spiffeId === spiffeId);
    if (identity === undefined) {
      draft.note({ reasons: nothingEarned(earned), ...(spiffeId !== undefined && { spiffe_id: spiffeId }) });
      throw new AssayError("NO_IDENTITY_ISSUED", `no identity issued (decision ${draft.id})`);
    }
    draft.note(identityFacts(identity));
    const now = unixSeconds(options.clock);
    const wanted = {
      spiffeId: identity.spiffeId,
      entryExpiresAt: identity.entry.expiresAt,
      // By a clock that was set back the lease would be longer than anybody gave.
      endsBy: Math.min(task.leaseExpiresAt, now + task.lease) + options.settings.grace,
    };
    const { svid, credential } = await make(identity, wanted, task);
    const issuedAt = unixSeconds(options.clock);
    const origin = { spiffeId: identity.spiffeId, entryId: identity.entry.id, taskId: task.id, parent: "" };
    // The store has the last word: a task that ended meanwhile has nothing revoked that came after.
    if (!(await options.credentials.record([{ ...credential, ...origin, issuedAt }]))) {
      throw new AssayError("TASK_OVER", `task ${task.id} has ended`);
    }
    return { svid, identity };
  });
}

/**
 * The claim that names the run: its id here, and what the platform itself says of it, as far as a token has room for it.
 * Short values first, since identifiers are short and what a platform lets its users describe need not be.
 */
function runClaim({ id, platform, claims, authoredClaims }: TaskRecord): Readonly<Record<string, string>> {
  const authored = new Set(authoredClaims);
  let room = MAX_RUN_CLAIM;
  const vouched = Object.entries(claims)
    .filter(([name]) => !authored.has(name))
    .toSorted(([, a], [, b]) => a.length - b.length)
    .filter((claim) => (room -= JSON.stringify(claim).length) >= 0);
  return { ...Object.fromEntries(vouched), id, platform };
}

function statusClaim({ statusListUri }: TaskIssuanceOptions, { list, index }: StatusPlace) {
  return { status_list: { idx: index, uri: statusListUri(list) } };
}

// Characters; the token as a whole takes a little more, and tokens travel in headers.
const MAX_RUN_CLAIM = 4096;
const X509 = { events: { issued: "svid.x509.issued", refused: "svid.denied" }, facts: issuedFacts } as const;
const JWT = { events: { issued: "svid.jwt.issued", refused: "svid.denied" }, facts: jwtFacts } as const;
const WIT = { events: { issued: "svid.wit.issued", refused: "svid.denied" }, facts: witFacts } as const;
