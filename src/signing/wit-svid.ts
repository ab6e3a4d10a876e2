import { type Clock, unixSeconds } from "../clock.ts";
import { lintWitSvidInput } from "../crypto/jose/wit-svid-lint.ts";
import { assembleWitSvid, witSvidSigningInput } from "../crypto/jose/wit-svid.ts";
import type { Random } from "../crypto/random.ts";
import { AssayError } from "../errors/assay-error.ts";
import { isMemberOf, pathOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { signBounded } from "./bounded-sign.ts";
import { Pending } from "./pending.ts";
import { randomUuid } from "./random-uuid.ts";
import type { PreparedWitSvid, Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

/** What the signer works with. */
export interface WitSvidSignerDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  /** The active authority. @throws AssayError `UNIMPLEMENTED` where WIT-SVIDs are switched off. */
  readonly authority: () => TokenAuthority;
}

/** The two steps in which WIT-SVIDs are made; the second accepts nothing but what the first has checked. */
export type WitSvidSigner = Pick<Signing, "prepareWitSvid" | "signWitSvid">;

/** The signer of WIT-SVIDs. */
export function createWitSvidSigner(dependencies: WitSvidSignerDependencies): WitSvidSigner {
  const { trustDomain, clock, random, authority } = dependencies;
  const pending = new Pending<PreparedWitSvid, { readonly input: Uint8Array; readonly by: TokenAuthority }>(
    "WIT-SVID",
  );

  return {
    prepareWitSvid({ spiffeId, publicKey, keyAlgorithm, ttl }) {
      const by = authority();
      const issuedAt = unixSeconds(clock);
      if (!isMemberOf(spiffeId, trustDomain)) throw refused(`SPIFFE ID must be a member of ${trustDomain}`);
      if (pathOf(spiffeId) === "") throw refused("SPIFFE ID must have a path");
      if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
      const expiresAt = Math.min(issuedAt + Math.floor(ttl), by.record.notAfter);
      const jti = randomUuid(random);
      const keyId = by.record.id;
      const input = witSvidSigningInput({
        keyId,
        alg: by.algorithm,
        claims: { sub: spiffeId, exp: expiresAt, iat: issuedAt, jti, publicKey, keyAlgorithm },
      });
      const [finding] = lintWitSvidInput(input, {
        spiffeId,
        publicKey,
        keyAlgorithm,
        keyId,
        algorithm: by.algorithm,
        issuedAt,
        expiresAt,
        authorityNotAfter: by.record.notAfter,
        jti,
      });
      if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
      return pending.add({ spiffeId, keyId, jti, issuedAt, expiresAt }, { input, by });
    },

    async signWitSvid(prepared, waiter) {
      const { input, by } = pending.take(prepared);
      return {
        ...prepared,
        token: assembleWitSvid(input, await signBounded(by.key, input, "p1363", waiter)),
      };
    },
  };
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `WIT-SVID: ${detail}`);
}
