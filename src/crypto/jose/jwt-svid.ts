import { AssayError } from "../../errors/assay-error.ts";
import { openDer, SEQUENCE } from "../der/reader.ts";
import { checkExtraClaims, type ExtraClaims } from "./extra-claims.ts";

/** The algorithms that Assay signs JWT-SVIDs with. */
export type JwtSvidAlgorithm = "ES256" | "ES384" | "RS256";

/** What a JWT-SVID says (JWT-SVID §3). Times are whole Unix seconds. */
export interface JwtSvidClaims {
  /** The workload's SPIFFE ID. */
  readonly sub: string;
  /** Audiences, one or more; always written as an array. */
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  /** Issuer URL, for relying parties that use OIDC discovery. */
  readonly iss?: string;
  /** Identifier of this one token. */
  readonly jti?: string;
  /** Claims besides those above; JWT-SVID §3 allows any. */
  readonly extra?: ExtraClaims;
}

/**
 * The JWS signing input of a JWT-SVID: header with exactly `alg`, `kid` and `typ: JWT` (§2), claims in a fixed order,
 * numbers as plain integers.
 * @throws AssayError `INVALID_AUDIENCE` without an audience; `INTERNAL` for times that are not whole seconds and for
 * further claims that cannot be.
 */
export function jwtSvidSigningInput(options: {
  readonly keyId: string;
  readonly alg: JwtSvidAlgorithm;
  readonly claims: JwtSvidClaims;
}): Uint8Array {
  const { sub, aud, exp, iat, iss, jti, extra } = options.claims;
  if (aud.length === 0 || aud.includes(""))
    throw new AssayError("INVALID_AUDIENCE", "audience must not be empty");
  if (!Number.isSafeInteger(exp) || !Number.isSafeInteger(iat)) {
    throw new AssayError("INTERNAL", "exp and iat must be whole seconds");
  }
  checkExtraClaims(extra ?? {}, REGISTERED);
  const header = JSON.stringify({ alg: options.alg, kid: options.keyId, typ: "JWT" });
  const claims = JSON.stringify({ sub, aud, exp, iat, iss, jti, ...extra });
  return Buffer.from(`${base64url(header)}.${base64url(claims)}`, "latin1");
}

/** The JWT-SVID in JWS compact serialisation (§5.1). `signature` is R ‖ S for ECDSA (RFC 7518 §3.4). A bearer secret. */
export function assembleJwtSvid(signingInput: Uint8Array, signature: Uint8Array): string {
  return `${latin1(signingInput)}.${Buffer.from(signature).toString("base64url")}`;
}

/**
 * An ECDSA signature in DER, as X.509 and remote keys have it, as R ‖ S, as JOSE wants it. `coordinateOctets` is 32
 * for ES256 and 48 for ES384.
 * @throws AssayError `KEY_UNAVAILABLE` where the key returned something else.
 */
export function ecdsaDerToP1363(signature: Uint8Array, coordinateOctets: 32 | 48): Uint8Array {
  const outer = openDer(signature, "KEY_UNAVAILABLE", MAX_ECDSA_OCTETS, "ECDSA signature");
  const pair = outer.enter(SEQUENCE, "ECDSA signature");
  outer.done("ECDSA signature");
  const joined = new Uint8Array(2 * coordinateOctets);
  for (const end of [coordinateOctets, 2 * coordinateOctets]) {
    const content = pair.integer("ECDSA signature");
    const value = content[0] === 0 ? content.subarray(1) : content;
    if ((content[0] as number) >= 0x80 || value.length === 0 || value.length > coordinateOctets) {
      pair.fail("ECDSA signature does not fit the curve of its key");
    }
    joined.set(value, end - value.length);
  }
  pair.done("ECDSA signature");
  return joined;
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

const REGISTERED: ReadonlySet<string> = new Set(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]);
const MAX_ECDSA_OCTETS = 144;
