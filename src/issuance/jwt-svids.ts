import { unixSeconds } from "../clock.ts";
import type { ExtraClaims } from "../crypto/jose/extra-claims.ts";
import { decideJwtSvid, jwtSvidAlgorithm } from "../policy/jwt-svid.ts";
import type { IssuedJwtSvid } from "../signing/signing.ts";
import { type Audience, parseAudiences } from "../spiffe/audience.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import type { DecisionFacts } from "./decision.ts";
import { entryOf, type IssuanceCall, issueOne, orderFacts, type SvidWanted } from "./entry-svids.ts";
import { allowedTtl, type SvidOptions, type WorkloadIssuanceOptions } from "./x509-svids.ts";

/**
 * Issues a JWT-SVID for an entry of an agent.
 * @throws AssayError `ENTRY_NOT_FOUND`, `INVALID_AUDIENCE`, `POLICY_DENIED`, `SIGNING_BUSY`, `AUDIT_UNAVAILABLE` and
 * signing's.
 */
export async function issueJwtSvid(
  options: WorkloadIssuanceOptions,
  caller: AgentCaller,
  order: { readonly entryId: string; readonly audience: readonly string[] },
  call?: IssuanceCall,
): Promise<IssuedJwtSvid> {
  const known = { ...orderFacts(caller, order), audience: order.audience };
  return issueOne(options, JWT, caller, known, async (draft) => {
    const audiences = parseAudiences(order.audience);
    const entry = entryOf(options, caller, order, draft);
    const wanted = {
      spiffeId: entry.spiffeId,
      entryTtl: entry.jwtSvidTtl,
      entryExpiresAt: entry.expiresAt,
      includeJti: entry.jwtSvidIncludeJti,
    };
    const svid = await jwtSvidFor(options, audiences, wanted, call);
    // The agent may have been banned while it was signed; see issueForEntries.
    entryOf(options, caller, order, draft);
    return svid;
  });
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
  const { spiffeId, audience, ttl } = request;
  return issueOne(options, JWT, caller, { spiffe_id: spiffeId, audience }, async () =>
    jwtSvidFor(options, parseAudiences(audience), { spiffeId, requestedTtl: ttl, includeJti: false }),
  );
}

/** A JWT-SVID that is wanted. */
export interface JwtSvidWanted extends SvidWanted {
  readonly includeJti: boolean;
  /** Further claims, made once it is known when the token expires (Unix seconds); they replace none of the profile's. */
  readonly claims?: (expiresAt: number) => Promise<Readonly<Record<string, unknown>>>;
}

/**
 * A JWT-SVID for audiences, if policy allows it.
 * @throws AssayError `POLICY_DENIED`, `COMPOSER_FAILED`, what `claims` throws, and signing's.
 */
export async function jwtSvidFor(
  options: SvidOptions,
  audiences: readonly Audience[],
  wanted: JwtSvidWanted,
  call?: IssuanceCall,
): Promise<IssuedJwtSvid> {
  const { signing, policy, trustDomain, clock, composing } = options;
  const { includeJti, claims, ...facts } = wanted;
  const algorithm = jwtSvidAlgorithm(audiences, policy);
  const allowed = (endsBy = facts.endsBy) =>
    allowedTtl(
      decideJwtSvid(
        {
          ...facts,
          ...(endsBy !== undefined && { endsBy }),
          trustDomain,
          audiences,
          now: unixSeconds(clock),
          authorityNotAfter: signing.jwtAuthorityNotAfter(algorithm),
        },
        policy,
      ),
    );
  let ttl = allowed();
  let more: ExtraClaims = {};
  if (composing !== undefined) {
    more = await composing.jwtSvid({ spiffeId: wanted.spiffeId, audiences });
    // Composers take their time, and what ends meanwhile ends the SVID too.
    ttl = allowed();
  }
  if (claims !== undefined) {
    const told = unixSeconds(clock) + ttl;
    more = { ...more, ...(await claims(told)) };
    ttl = allowed(told);
  }
  return signing.signJwtSvid(
    signing.prepareJwtSvid({
      spiffeId: wanted.spiffeId,
      audiences,
      ttl,
      includeJti,
      ...(algorithm === undefined ? {} : { algorithm }),
      claims: more,
    }),
    call,
  );
}

/** The part of an audit record that an issued JWT-SVID fills in. */
export function jwtFacts(issued: IssuedJwtSvid): DecisionFacts {
  return { jti: issued.tokenId, authority_id: issued.keyId, expires_at: issued.expiresAt };
}

const JWT = { events: { issued: "svid.jwt.issued", refused: "svid.denied" }, facts: jwtFacts } as const;
