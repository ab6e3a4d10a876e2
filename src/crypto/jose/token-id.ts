import { hash } from "node:crypto";

/**
 * By which one token can be traced and revoked: its `jti` where it has one, else the SHA-256 of its signing input in
 * lower-case hex. Only of a token whose signature was verified: nobody can then have changed either.
 * @param token JWS compact serialisation.
 */
export function tokenIdOf(token: string, claims: Readonly<Record<string, unknown>>): string {
  const { jti } = claims;
  return typeof jti === "string" && jti !== ""
    ? jti
    : hash("sha256", token.slice(0, token.lastIndexOf(".")), "hex");
}
