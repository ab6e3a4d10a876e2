import { hash } from "node:crypto";
import { type Clock, unixSeconds } from "../clock.ts";
import { lintJwtSvidInput } from "../crypto/jose/jwt-svid-lint.ts";
import { assembleJwtSvid, jwtSvidSigningInput } from "../crypto/jose/jwt-svid.ts";
import type { Random } from "../crypto/random.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { signBounded } from "./bounded-sign.ts";
import { Pending } from "./pending.ts";
import { randomUuid } from "./random-uuid.ts";
import type { PreparedJwtSvid, Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

/** What the signer works with. */
export interface JwtSvidSignerDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  /** The active authority, or the one for who knows RS256 alone. */
  readonly authority: (algorithm?: "RS256") => TokenAuthority;
  /** The `iss` of every token; none unless given. */
  readonly issuer?: string;
}

/** The two steps in which JWT-SVIDs are made; the second accepts nothing but what the first has checked. */
export type JwtSvidSigner = Pick<Signing, "prepareJwtSvid" | "signJwtSvid">;

/** The signer of JWT-SVIDs. */
export function createJwtSvidSigner(dependencies: JwtSvidSignerDependencies): JwtSvidSigner {
  const { trustDomain, clock, random, authority, issuer } = dependencies;
  const pending = new Pending<PreparedJwtSvid, { readonly input: Uint8Array; readonly by: TokenAuthority }>(
    "JWT-SVID",
  );

  return {
    prepareJwtSvid({ spiffeId, audiences, ttl, includeJti, algorithm: wanted, claims: extra }) {
      const by = authority(wanted);
      const { algorithm } = by;
      const { id: keyId, notAfter: authorityNotAfter } = by.record;
      const issuedAt = unixSeconds(clock);
      if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
      const expiresAt = Math.min(issuedAt + Math.floor(ttl), authorityNotAfter);
      const jti = includeJti ? randomUuid(random) : undefined;
      const input = jwtSvidSigningInput({
        keyId,
        alg: algorithm,
        claims: {
          sub: spiffeId,
          aud: audiences,
          exp: expiresAt,
          iat: issuedAt,
          ...(issuer === undefined ? {} : { iss: issuer }),
          ...(jti === undefined ? {} : { jti }),
          ...(extra === undefined ? {} : { extra }),
        },
      });
      const [finding] = lintJwtSvidInput(input, {
        trustDomain,
        spiffeId,
        audiences,
        keyId,
        algorithm,
        issuedAt,
        expiresAt,
        authorityNotAfter,
        issuer,
        jti,
        extra,
      });
      if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
      const tokenId = jti ?? hash("sha256", input, "hex");
      const named = jti === undefined ? {} : { jti };
      return pending.add({ spiffeId, keyId, tokenId, issuedAt, expiresAt, ...named }, { input, by });
    },

    async signJwtSvid(prepared, waiter) {
      const { input, by } = pending.take(prepared);
      return {
        ...prepared,
        token: assembleJwtSvid(input, await signBounded(by.key, input, "p1363", waiter)),
      };
    },
  };
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `JWT-SVID: ${detail}`);
}
