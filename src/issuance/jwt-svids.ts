import { unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { decideJwtSvid, jwtSvidAlgorithm } from "../policy/jwt-svid.ts";
import type { IssuedJwtSvid } from "../signing/signing.ts";
import { type Audience, parseAudiences } from "../spiffe/audience.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { formatSelector } from "../spiffe/selector.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import { decision, type DecisionFacts, outcomeOf, recorded } from "./decision.ts";
import { allowedTtl, type WorkloadIssuanceOptions } from "./x509-svids.ts";

/**
 * Issues a JWT-SVID for an entry of an agent.
 * @throws AssayError `ENTRY_NOT_FOUND`, `INVALID_AUDIENCE`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE` and signing's.
 */
export async function issueJwtSvid(
  options: WorkloadIssuanceOptions,
  caller: AgentCaller,
  order: { readonly entryId: string; readonly audience: readonly string[] },
): Promise<IssuedJwtSvid> {
  const facts = { agent_id: caller.svid.spiffeId, entry_id: order.entryId, audience: order.audience };
  const decided = await decision(options, JWT_EVENTS, caller, facts, async (draft) => {
    const audiences = parseAudiences(order.audience);
    const entry = options.authorizedEntry(caller.svid.spiffeId, order.entryId);
    if (entry === undefined) throw new AssayError("ENTRY_NOT_FOUND", "entry not found or not authorized");
    draft.note({
      spiffe_id: entry.spiffeId,
      entry_revision: entry.revision,
      selectors: entry.selectors.map(formatSelector),
    });
    const issued = await sign(options, audiences, {
      spiffeId: entry.spiffeId,
      entryTtl: entry.jwtSvidTtl,
      entryExpiresAt: entry.expiresAt,
      includeJti: entry.jwtSvidIncludeJti,
    });
    draft.note(jwtFacts(issued));
    return issued;
  });
  return outcomeOf(recorded(options, [decided])[0] ?? decided);
}

/**
 * Mints a JWT-SVID for an administrator, without an entry.
 * @throws AssayError `INVALID_AUDIENCE`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE` and signing's.
 */
export async function mintJwtSvid(
  options: Omit<WorkloadIssuanceOptions, "authorizedEntry">,
  caller: Caller,
  request: { readonly spiffeId: SpiffeId; readonly audience: readonly string[]; readonly ttl: number },
): Promise<IssuedJwtSvid> {
  const { spiffeId } = request;
  const facts = { spiffe_id: spiffeId, audience: request.audience };
  const decided = await decision(options, JWT_EVENTS, caller, facts, async (draft) => {
    const issued = await sign(options, parseAudiences(request.audience), {
      spiffeId,
      requestedTtl: request.ttl,
      includeJti: false,
    });
    draft.note(jwtFacts(issued));
    return issued;
  });
  return outcomeOf(recorded(options, [decided])[0] ?? decided);
}

async function sign(
  options: Omit<WorkloadIssuanceOptions, "authorizedEntry">,
  audiences: readonly Audience[],
  wanted: {
    readonly spiffeId: SpiffeId;
    readonly entryTtl?: number;
    readonly entryExpiresAt?: number;
    readonly requestedTtl?: number;
    readonly includeJti: boolean;
  },
): Promise<IssuedJwtSvid> {
  const { signing, policy, trustDomain, clock } = options;
  const { includeJti, ...facts } = wanted;
  const algorithm = jwtSvidAlgorithm(audiences, policy);
  const ttl = allowedTtl(
    decideJwtSvid(
      {
        ...facts,
        trustDomain,
        audiences,
        now: unixSeconds(clock),
        authorityNotAfter: signing.jwtAuthorityNotAfter(algorithm),
      },
      policy,
    ),
  );
  return signing.mintJwtSvid({
    spiffeId: wanted.spiffeId,
    audiences,
    ttl,
    includeJti,
    ...(algorithm === undefined ? {} : { algorithm }),
  });
}

function jwtFacts(issued: IssuedJwtSvid): DecisionFacts {
  return { jti: issued.tokenId, authority_id: issued.keyId, expires_at: issued.expiresAt };
}

const JWT_EVENTS = { issued: "svid.jwt.issued", refused: "svid.denied" } as const;
