import { type Clock, unixSeconds } from "../clock.ts";
import { assembleJwtSvid } from "../crypto/jose/jwt-svid.ts";
import { lintStatusListInput, statusListSigningInput } from "../crypto/jose/status-list-token.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { Signing } from "./signing.ts";
import type { TokenAuthority } from "./token-authority.ts";

/** What the signer works with. */
export interface StatusListSignerDependencies {
  readonly clock: Clock;
  /** The active authority. */
  readonly authority: () => TokenAuthority;
}

/** The signer of status lists. */
export function createStatusListSigner({
  clock,
  authority,
}: StatusListSignerDependencies): Signing["signStatusList"] {
  return async ({ uri, list, ttl, expiresAt }) => {
    const by = authority();
    const { id: keyId, notAfter: authorityNotAfter } = by.record;
    const exp = Math.min(Math.floor(expiresAt), authorityNotAfter);
    const claims = { uri, list, iat: unixSeconds(clock), exp, ttl };
    const input = statusListSigningInput({ keyId, alg: by.algorithm, claims });
    const ordered = { ...claims, keyId, algorithm: by.algorithm, authorityNotAfter };
    const [finding] = lintStatusListInput(input, ordered);
    if (finding !== undefined) {
      throw new AssayError("CERTIFICATE_LINT_FAILED", `status list: ${finding.rule}: ${finding.detail}`);
    }
    return assembleJwtSvid(input, await by.key.sign(input, "p1363"));
  };
}
