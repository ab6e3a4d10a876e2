import { AssayError } from "../../errors/assay-error.ts";
import { checkExtraClaims, type ExtraClaims } from "./extra-claims.ts";
import type { JwtSvidAlgorithm } from "./jwt-svid.ts";

/** `typ` of access tokens (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYPE = "at+jwt";

/** To what an access token is bound: a key by its thumbprint (RFC 9449 §6.1), or a certificate (RFC 8705 §3.1). */
export type Confirmation = { readonly jkt: string } | { readonly x5tS256: string };

/** Who acts for the subject (RFC 8693 §4.1). Only the outermost counts for what may be done; at most 8 deep. */
export interface ActClaim {
  readonly sub: string;
  readonly iss?: string;
  readonly act?: ActClaim;
}

/** Where the status of a token is published (Token Status List §6.2). */
export interface StatusReference {
  /** URI of the list. */
  readonly uri: string;
  /** Place in the list, from 0. */
  readonly idx: number;
}

/** What an access token says (RFC 9068 §2.2). Times are whole Unix seconds. */
export interface AccessTokenClaims {
  readonly iss: string;
  readonly sub: string;
  /** The one resource that it is for. */
  readonly aud: string;
  readonly clientId: string;
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  /** Scopes with spaces between them; none unless given. */
  readonly scope?: string | undefined;
  /** Whose possession the bearer must prove; a bearer token where there is none. */
  readonly confirmation: Confirmation | undefined;
  readonly status?: StatusReference | undefined;
  readonly act?: ActClaim | undefined;
  /** Claims besides those above. */
  readonly extra?: ExtraClaims | undefined;
}

/**
 * The JWS signing input of an access token: header with exactly `alg`, `kid` and `typ: at+jwt`, claims in a fixed order,
 * numbers as plain integers.
 * @throws AssayError `INTERNAL` for times that are not whole seconds and for further claims that cannot be.
 */
export function accessTokenSigningInput(options: {
  readonly keyId: string;
  readonly alg: JwtSvidAlgorithm;
  readonly claims: AccessTokenClaims;
}): Uint8Array {
  const { iss, sub, aud, clientId, exp, iat, jti, scope, confirmation, status, act, extra } = options.claims;
  if (!Number.isSafeInteger(exp) || !Number.isSafeInteger(iat)) {
    throw new AssayError("INTERNAL", "exp and iat must be whole seconds");
  }
  checkExtraClaims(extra ?? {}, REGISTERED);
  const header = JSON.stringify({ alg: options.alg, kid: options.keyId, typ: ACCESS_TOKEN_TYPE });
  const claims = JSON.stringify({
    iss,
    sub,
    aud,
    client_id: clientId,
    exp,
    iat,
    jti,
    scope,
    cnf: confirmation === undefined ? undefined : confirmationClaim(confirmation),
    status: status === undefined ? undefined : statusClaim(status),
    act,
    ...extra,
  });
  return Buffer.from(`${base64url(header)}.${base64url(claims)}`, "latin1");
}

/** The value of `cnf`. */
export function confirmationClaim(confirmation: Confirmation): Readonly<Record<string, string>> {
  return "jkt" in confirmation ? { jkt: confirmation.jkt } : { "x5t#S256": confirmation.x5tS256 };
}

/** The value of `status` (Token Status List §6.2). */
export function statusClaim({ uri, idx }: StatusReference): {
  readonly status_list: { readonly idx: number; readonly uri: string };
} {
  return { status_list: { idx, uri } };
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

const REGISTERED: ReadonlySet<string> = new Set([
  "iss",
  "sub",
  "aud",
  "client_id",
  "exp",
  "nbf",
  "iat",
  "jti",
  "scope",
  "cnf",
  "status",
  "act",
]);
