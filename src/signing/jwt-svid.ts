import { hash } from "node:crypto";
import { type Clock, unixSeconds } from "../clock.ts";
import { assembleJwtSvid, jwtSvidSigningInput } from "../crypto/jose/jwt-svid.ts";
import type { Random } from "../crypto/random.ts";
import { AssayError } from "../errors/assay-error.ts";
import { isMemberOf, pathOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { randomUuid } from "./random-uuid.ts";
import type { Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

/** What minting works with. */
export interface JwtSvidMinterDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  /** The active authority, or the one for who knows RS256 alone. */
  readonly authority: (algorithm?: "RS256") => TokenAuthority;
  /** The `iss` of every token; none unless given. */
  readonly issuer?: string;
}

/** The minter of JWT-SVIDs. */
export function createJwtSvidMinter(dependencies: JwtSvidMinterDependencies): Signing["mintJwtSvid"] {
  const { trustDomain, clock, random, authority, issuer } = dependencies;
  return async ({ spiffeId, audiences, ttl, includeJti, algorithm: wanted }) => {
    const { record, key, algorithm } = authority(wanted);
    const issuedAt = unixSeconds(clock);
    if (!isMemberOf(spiffeId, trustDomain)) throw refused(`SPIFFE ID must be a member of ${trustDomain}`);
    if (pathOf(spiffeId) === "") throw refused("SPIFFE ID must have a path");
    if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
    const expiresAt = Math.min(issuedAt + Math.floor(ttl), record.notAfter);
    const jti = includeJti ? randomUuid(random) : undefined;
    const signingInput = jwtSvidSigningInput({
      keyId: record.id,
      alg: algorithm,
      claims: {
        sub: spiffeId,
        aud: audiences,
        exp: expiresAt,
        iat: issuedAt,
        ...(issuer === undefined ? {} : { iss: issuer }),
        ...(jti === undefined ? {} : { jti }),
      },
    });
    const token = assembleJwtSvid(signingInput, await key.sign(signingInput, "p1363"));
    const tokenId = jti ?? hash("sha256", signingInput, "hex");
    return {
      spiffeId,
      token,
      keyId: record.id,
      tokenId,
      issuedAt,
      expiresAt,
      ...(jti === undefined ? {} : { jti }),
    };
  };
}

function refused(detail: string): AssayError {
  return new AssayError("INTERNAL", `JWT-SVID: ${detail}`);
}
