import { unixSeconds } from "../../clock.ts";
import type { ActClaim, Confirmation } from "../../crypto/jose/access-token.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import { decideAccessToken } from "../../policy/access-token.ts";
import { jwtSvidAlgorithm } from "../../policy/jwt-svid.ts";
import type { IssuedToken } from "../../signing/signing.ts";
import { type Audience, parseAudiences } from "../../spiffe/audience.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { Caller } from "../caller.ts";
import { type Decided, decision, type DecisionDraft, outcomeOf, recorded } from "../decision.ts";
import { taskFacts } from "../tasks/task-audit.ts";
import { allowedTtl } from "../x509-svids.ts";
import { authenticateClient, type ClientCredential } from "./client.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import { actorBehind, identityOf, type PresentedIdentity } from "./presented-identity.ts";
import { type Presented, readAccessToken, readAssertion, readSvidToken } from "./presented.ts";
import { recordedToken } from "./recorded-token.ts";

/** What the requester proved to hold on this very request: a key, a certificate, or both. */
export interface Held {
  /** Thumbprint of the key of its DPoP proof. */
  readonly jkt?: string;
  /** SHA-256 of the certificate of its connection, in base64url (RFC 8705 §3.1). */
  readonly x5tS256?: string;
}

/** A request for an access token of one audience. Everything in it is hostile but `held`. */
export interface TokenRequest {
  /** For whom: a JWT-SVID or WIT-SVID, an access token, an assertion (RFC 7523), or the client itself. */
  readonly subject:
    | { readonly form: "jwt" | "access_token" | "assertion"; readonly token: string }
    | { readonly form: "client" };
  /** A JWT-SVID of who will act for the subject. */
  readonly actor: string | undefined;
  readonly client: ClientCredential | undefined;
  readonly audience: string;
  readonly held: Held;
}

/** An access token that was issued. */
export interface ExchangedToken extends IssuedToken {
  readonly spiffeId: SpiffeId;
  readonly confirmation: Confirmation;
}

/**
 * Issues an access token of one audience for an identity that was shown, where its registration entry lists the audience;
 * for who acts for another, where both entries do. It is bound to what the requester holds, is good no longer than what it
 * was exchanged for, and is revoked with it.
 *
 * What was shown and is not good and what has no entry are the same to the caller: `NO_IDENTITY_ISSUED` with a decision id.
 * @throws AssayError `NO_IDENTITY_ISSUED`, `CLIENT_REFUSED`, `TARGET_REFUSED`, `INVALID_AUDIENCE`, `POLICY_DENIED`,
 * `INVALID_DPOP_PROOF` where nothing is held that a token could be bound to, `STORE_UNAVAILABLE`, `AUDIT_UNAVAILABLE` and
 * signing's.
 */
export async function exchangeToken(
  options: ExchangeOptions,
  caller: Caller,
  request: TokenRequest,
): Promise<ExchangedToken> {
  const decided = await decision(options, EXCHANGE, caller, {}, async (draft) => {
    const audience = audienceOf(request.audience);
    draft.note({ audience: [audience] });
    const confirmation = bindingOf(request.held);
    const client =
      request.client === undefined ? undefined : await authenticateClient(options, caller, request.client);
    const subject = await subjectOf(options, request, client);
    draft.note({ spiffe_id: subject.spiffeId, reasons: [`exchanged ${subject.kind}:${subject.id}`] });
    const actor = request.actor === undefined ? undefined : await readAssertion(options, request.actor);
    const act = actorsOf(subject, actor);
    if (act !== undefined) draft.note({ act: namesOf(act) });
    requireHeld(subject, request.held, actor);
    const earned = await identityOf(options, subject);
    const acting = actor === undefined ? undefined : await identityOf(options, actor);
    if (earned.task !== undefined) draft.note(taskFacts(earned.task));
    if (acting !== undefined) exchangeable(acting, audience);
    // Who acts by a token that he has is bound by his own entry as he was when he got it.
    else if (act !== undefined) exchangeable(actorBehind(options, act.sub, earned.task), audience);
    const identity = exchangeable(earned, audience);
    noteIdentity(draft, identity);
    const issued = await recordedToken(
      options,
      {
        subject: identity.spiffeId,
        clientId: client?.spiffeId ?? act?.sub ?? identity.spiffeId,
        audience,
        confirmation,
        ttl: ttlOf(
          options,
          audience,
          identity,
          Math.min(earned.endsBy, acting?.endsBy ?? Number.POSITIVE_INFINITY),
        ),
        ...(act === undefined ? {} : { act }),
        ...algorithmFor(options, audience),
        ...runOf(earned.task),
      },
      {
        spiffeId: identity.spiffeId,
        entryId: identity.entry.id,
        // Of two tasks the one that holds the token; the other's end reaches it by what it was exchanged for.
        taskId: acting?.task?.id ?? earned.task?.id ?? "",
        parent: `${subject.kind}:${subject.id}`,
      },
    );
    draft.note({ jti: issued.jti, authority_id: issued.keyId, expires_at: issued.expiresAt });
    return { ...issued, spiffeId: identity.spiffeId, confirmation };
  });
  recorded(options, [decided]);
  return outcomeOf(forCaller(decided));
}

/** The decision as its caller may see it: why something that was shown is not good is for operators. */
function forCaller<Value>(decided: Decided<Value>): Decided<Value> {
  const { error, record } = decided;
  if (error === undefined) return decided;
  const code = error.code === "CLIENT_REFUSED" ? "CLIENT_REFUSED" : "NO_IDENTITY_ISSUED";
  if (code === "NO_IDENTITY_ISSUED" && !UNIFORM.has(error.code)) return decided;
  const what = code === "CLIENT_REFUSED" ? "client not authenticated" : "no identity issued";
  const detail = `${what} (decision ${record.decision_id ?? ""})`;
  return { record, error: new AssayError(code, detail, { cause: error }) };
}

async function subjectOf(
  options: ExchangeOptions,
  { subject }: TokenRequest,
  client: Presented | undefined,
): Promise<Presented> {
  switch (subject.form) {
    case "jwt":
      return readSvidToken(options, subject.token);
    case "assertion":
      return readAssertion(options, subject.token);
    case "access_token":
      return readAccessToken(options, subject.token);
    case "client":
      if (client === undefined) throw new AssayError("CLIENT_REFUSED", "the client shows no credential");
      return client;
  }
}

/**
 * Who shows a bound token must hold what it is bound to, or be whom it was made for: a service that was called with it and
 * goes on as its actor.
 */
function requireHeld({ confirmation, audience }: Presented, held: Held, actor: Presented | undefined): void {
  if (confirmation === undefined) return;
  const isHeld =
    "jkt" in confirmation ? held.jkt === confirmation.jkt : held.x5tS256 === confirmation.x5tS256;
  if (isHeld) return;
  if (actor !== undefined && audience.length === 1 && audience[0] === actor.spiffeId) return;
  throw new AssayError(
    "NO_IDENTITY_ISSUED",
    "the token is bound to a key or certificate that was not proved",
  );
}

/** RFC 8693 §4.1: who acted before stays within, and only the outermost counts. */
function actorsOf(subject: Presented, actor: Presented | undefined): ActClaim | undefined {
  const before = subject.act;
  if (actor === undefined) return before;
  const act = { sub: actor.spiffeId, ...(before === undefined ? {} : { act: before }) };
  if (namesOf(act).length > MAX_ACTORS) {
    throw new AssayError("NO_IDENTITY_ISSUED", `more than ${MAX_ACTORS} act for the subject`);
  }
  return act;
}

function namesOf(act: ActClaim): readonly string[] {
  const names: string[] = [];
  for (let one: ActClaim | undefined = act; one !== undefined; one = one.act) names.push(one.sub);
  return names;
}

function exchangeable(
  { earned }: Pick<PresentedIdentity, "earned">,
  audience: Audience,
): PresentedIdentity["earned"][number] {
  const fitting = earned.find(({ entry }) => entry.exchangeAudiences.includes(audience));
  if (fitting !== undefined) return fitting;
  const [first] = earned;
  throw new AssayError(
    "TARGET_REFUSED",
    `${first?.spiffeId ?? "the identity"} may not be exchanged for this audience`,
  );
}

function noteIdentity(
  draft: DecisionDraft,
  { spiffeId, entry }: { readonly spiffeId: SpiffeId; readonly entry: EntryRecord },
): void {
  draft.note({
    spiffe_id: spiffeId,
    entry_id: entry.id,
    entry_revision: entry.revision,
    parent_id: entry.parentId,
  });
}

function ttlOf(
  { policy, signing, clock, trustDomain }: ExchangeOptions,
  audience: Audience,
  { spiffeId, entry }: { readonly spiffeId: SpiffeId; readonly entry: EntryRecord },
  endsBy: number,
): number {
  const authorityNotAfter = signing.jwtAuthorityNotAfter(jwtSvidAlgorithm([audience], policy));
  return allowedTtl(
    decideAccessToken(
      {
        trustDomain,
        spiffeId,
        entryTtl: entry.jwtSvidTtl,
        entryExpiresAt: entry.expiresAt,
        endsBy,
        now: unixSeconds(clock),
        authorityNotAfter,
      },
      policy,
    ),
  );
}

function algorithmFor({ policy }: ExchangeOptions, audience: Audience): { readonly algorithm?: "RS256" } {
  const algorithm = jwtSvidAlgorithm([audience], policy);
  return algorithm === undefined ? {} : { algorithm };
}

function runOf(task: TaskRecord | undefined): { readonly extra?: { readonly task: object } } {
  return task === undefined ? {} : { extra: { task: { id: task.id, platform: task.platform } } };
}

function audienceOf(text: string): Audience {
  const [audience] = parseAudiences([text]);
  if (audience === undefined) throw new AssayError("INVALID_AUDIENCE", "audience must be specified");
  return audience;
}

function bindingOf({ jkt, x5tS256 }: Held): Confirmation {
  if (jkt !== undefined) return { jkt };
  if (x5tS256 !== undefined) return { x5tS256 };
  throw new AssayError("INVALID_DPOP_PROOF", "a DPoP proof is missing, and so is a client certificate");
}

const EXCHANGE = { issued: "token.issued", refused: "token.denied" } as const satisfies Record<
  string,
  AuditEvent
>;
/** What is wrong with something that was shown, in whatever way. */
const UNIFORM: ReadonlySet<string> = new Set([
  "NO_IDENTITY_ISSUED",
  "INVALID_JWT_SVID",
  "INVALID_WIT_SVID",
  "INVALID_ACCESS_TOKEN",
  "INVALID_SPIFFE_ID",
]);
const MAX_ACTORS = 8;
