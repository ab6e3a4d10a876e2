import { AssayError } from "../../errors/assay-error.ts";
import { spkiToJwk } from "./jwk.ts";
import { assembleJwtSvid, type JwtSvidAlgorithm } from "./jwt-svid.ts";
import type { SvidAlgorithm } from "./svid-algorithms.ts";

/** What a WIT-SVID says (WIT-SVID §3). Times are whole Unix seconds. */
export interface WitSvidClaims {
  /** The workload's SPIFFE ID. */
  readonly sub: string;
  readonly exp: number;
  readonly iat: number;
  /** Identifier of this one token. */
  readonly jti: string;
  /** DER SubjectPublicKeyInfo of the key that the token is bound to (`cnf.jwk`). */
  readonly publicKey: Uint8Array;
  /** The algorithm by which its holder signs with that key (`cnf.jwk.alg`). */
  readonly keyAlgorithm: SvidAlgorithm;
}

/**
 * The JWS signing input of a WIT-SVID: header with exactly `alg`, `kid` and `typ: wit+jwt` (§2), claims in a fixed order,
 * numbers as plain integers. There is no `aud` (§3.8), and no `iss`, which could lead to OIDC discovery (§3.7).
 * @throws AssayError `INVALID_BUNDLE` for a key that no JWK can hold; `INTERNAL` for times that are not whole seconds.
 */
export function witSvidSigningInput(options: {
  readonly keyId: string;
  readonly alg: JwtSvidAlgorithm;
  readonly claims: WitSvidClaims;
}): Uint8Array {
  const { sub, exp, iat, jti, publicKey, keyAlgorithm } = options.claims;
  if (!Number.isSafeInteger(exp) || !Number.isSafeInteger(iat)) {
    throw new AssayError("INTERNAL", "exp and iat must be whole seconds");
  }
  const header = JSON.stringify({ alg: options.alg, kid: options.keyId, typ: "wit+jwt" });
  const jwk = { ...spkiToJwk(publicKey), alg: keyAlgorithm };
  const claims = JSON.stringify({ sub, exp, iat, jti, cnf: { jwk } });
  return Buffer.from(`${base64url(header)}.${base64url(claims)}`, "latin1");
}

/** The WIT-SVID in JWS compact serialisation. `signature` is R ‖ S for ECDSA (RFC 7518 §3.4). */
export function assembleWitSvid(signingInput: Uint8Array, signature: Uint8Array): string {
  return assembleJwtSvid(signingInput, signature);
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}
