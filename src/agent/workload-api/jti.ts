import { parseJwtSvidInsecure } from "../../crypto/jose/jwt-svid-verify.ts";
import type { JwtSvid } from "../../spiffe/svid.ts";

/** The `jti` of a JWT-SVID that our server has just signed, for the audit log; `undefined` where it has none. */
export function jtiOf(svid: JwtSvid): string | undefined {
  try {
    const { jti } = parseJwtSvidInsecure(svid.token).claims;
    return typeof jti === "string" ? jti : undefined;
  } catch {
    return undefined;
  }
}
