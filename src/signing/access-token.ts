import { type Clock, unixSeconds } from "../clock.ts";
import { lintAccessTokenInput } from "../crypto/jose/access-token-lint.ts";
import { type AccessTokenClaims, accessTokenSigningInput } from "../crypto/jose/access-token.ts";
import { assembleJwtSvid } from "../crypto/jose/jwt-svid.ts";
import { AssayError } from "../errors/assay-error.ts";
import { signBounded } from "./bounded-sign.ts";
import type { Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

/** What minting works with. */
export interface AccessTokenMinterDependencies {
  readonly clock: Clock;
  /** The active authority, or the one for who knows RS256 alone. */
  readonly authority: (algorithm?: "RS256") => TokenAuthority;
  /** The `iss` of every token; without one none can be made. */
  readonly issuer?: string;
}

/** The minter of access tokens. */
export function createAccessTokenMinter({
  clock,
  authority,
  issuer,
}: AccessTokenMinterDependencies): Signing["mintAccessToken"] {
  return async ({
    subject,
    clientId,
    audience,
    scope,
    ttl,
    jti,
    confirmation,
    status,
    act,
    extra,
    algorithm,
  }) => {
    if (issuer === undefined) throw new AssayError("PRECONDITION_FAILED", "jwt_issuer is not configured");
    const by = authority(algorithm);
    const { id: keyId, notAfter: authorityNotAfter } = by.record;
    const issuedAt = unixSeconds(clock);
    if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
    const claims: AccessTokenClaims = {
      iss: issuer,
      sub: subject,
      aud: audience,
      clientId,
      exp: Math.min(issuedAt + Math.floor(ttl), authorityNotAfter),
      iat: issuedAt,
      jti,
      scope,
      confirmation,
      status,
      act,
      extra,
    };
    const input = accessTokenSigningInput({ keyId, alg: by.algorithm, claims });
    const ordered = { ...claims, keyId, algorithm: by.algorithm, authorityNotAfter };
    const [finding] = lintAccessTokenInput(input, ordered);
    if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
    const token = assembleJwtSvid(input, await signBounded(by.key, input, "p1363"));
    return { token, jti, keyId, issuedAt, expiresAt: claims.exp };
  };
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `access token: ${detail}`);
}
