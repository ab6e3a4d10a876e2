import { createPublicKey, hash, type KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { importPublicKey } from "../keys.ts";
import { normalTargetUri } from "../target-uri.ts";
import {
  dateClaim,
  fitsAlgorithm,
  type JwsAlgorithm,
  JWS_ALGORITHMS,
  signJws,
  splitCompactJws,
  verifyCompactJws,
} from "./compact-jws.ts";
import { type PublicJwk, spkiToJwk } from "./jwk.ts";
import type { JsonObject } from "./strict-json.ts";
import type { SvidAlgorithm } from "./svid-algorithms.ts";
import { spkiThumbprint, strictJwkToSpki } from "./thumbprint.ts";

/** The algorithms of proofs, for `dpop_signing_alg_values_supported` (RFC 9449 §5.1). */
export const DPOP_ALGORITHMS = [
  "ES256",
  "ES384",
  "RS256",
  "PS256",
] as const satisfies readonly SvidAlgorithm[];

/** A proof as it came, and what its verifier knows of the request besides. */
export interface DpopProofCheck {
  /** Value of the one `DPoP` header. */
  readonly proof: string;
  /** Method of the request, as HTTP writes it: `POST`. */
  readonly method: string;
  /** URI of the request as the server itself knows it, never made from `Host`; its query and fragment do not count. */
  readonly url: string;
  /** The access token that the request carries; without one the proof must have no `ath`. */
  readonly accessToken?: string;
  /** Whether a nonce is one of ours and still good; `undefined` where none is asked for. */
  readonly nonceIsGood: ((nonce: string) => boolean) | undefined;
  /** Unix seconds. */
  readonly now: number;
  /** How old a proof may be, in seconds, 60 unless given. */
  readonly maxAgeSeconds?: number;
  /** How far in the future its `iat` may lie, in seconds, 5 unless given. */
  readonly leewaySeconds?: number;
}

/** What a good proof says. */
export interface DpopProofFacts {
  /** Thumbprint of the key, as {@link spkiThumbprint} makes it. */
  readonly jkt: string;
  /** Identifier of this one proof: 1 to 256 visible ASCII characters. Who accepts a proof must remember it with `jkt`. */
  readonly jti: string;
  /** The key whose possession is proved, with the members alone that make it. */
  readonly publicKey: PublicJwk;
  /** Unix seconds. */
  readonly issuedAt: number;
}

/**
 * Verifies that whoever sent the request holds the private key of the proof's `jwk` and meant this request, just now
 * (RFC 9449 §4.3, checks 2 to 11; that there is one header is the caller's). At most 8192 characters. Whether the `jti` is
 * new, and whether `jkt` is that of the access token, is for the caller to know.
 * @throws AssayError `INVALID_DPOP_PROOF`, and `DPOP_NONCE_REQUIRED` for a proof that is good but for its nonce; the
 * detail never holds any part of the proof but names of members.
 */
export async function verifyDpopProof(check: DpopProofCheck): Promise<DpopProofFacts> {
  const jws = splitCompactJws(check.proof, KIND);
  const spki = strictJwkToSpki(jws.header["jwk"], CODE);
  requireMeantForProofs(jws.header["jwk"] as JsonObject, jws.algorithm);
  await verifyCompactJws(jws, importPublicKey(spki, CODE), CODE);
  const { jti, htm, htu, ath, nonce } = jws.payload;
  if (typeof jti !== "string" || !JTI.test(jti))
    return fail(`jti must be 1 to ${MAX_JTI} visible ASCII characters`);
  if (htm !== check.method) fail("htm must be the method of the request");
  const target = normalTargetUri(check.url);
  // Of two URIs that cannot be read neither is the other.
  if (typeof htu !== "string" || target === undefined || normalTargetUri(htu) !== target) {
    fail("htu must be the URI of the request");
  }
  const issuedAt = requireTime(jws.payload, check);
  if (ath !== (check.accessToken === undefined ? undefined : accessTokenHash(check.accessToken))) {
    fail("ath must be the hash of the access token, and absent without one");
  }
  if (check.nonceIsGood !== undefined) {
    // RFC 9449 §8.1: a nonce is visible ASCII. Its length is bounded before anybody looks it up.
    if (nonce !== undefined && (typeof nonce !== "string" || !NONCE.test(nonce)))
      return fail("nonce is malformed");
    if (nonce === undefined || !check.nonceIsGood(nonce)) {
      throw new AssayError("DPOP_NONCE_REQUIRED", "nonce must be a recent one of this server");
    }
  }
  return { jkt: spkiThumbprint(spki), jti, publicKey: spkiToJwk(spki), issuedAt };
}

/** A request that a proof is made for. */
export interface DpopRequest {
  readonly method: string;
  /** URI of the request; its query and fragment are left out of the proof (RFC 9449 §4.2). */
  readonly url: string;
  /** Fresh for every proof, with at least 96 random bits. */
  readonly jti: string;
  /** Unix seconds. */
  readonly now: number;
  /** The last nonce that this server gave. */
  readonly nonce?: string;
  /** The access token that the request carries. */
  readonly accessToken?: string;
}

/**
 * The value of a `DPoP` header: ES256 or ES384 by the curve of the key, PS256 for RSA.
 * @throws AssayError `KEY_UNAVAILABLE` for another key; `INVALID_URL` for a URI that is none of HTTP.
 */
export function createDpopProof(privateKey: KeyObject, request: DpopRequest): string {
  const algorithm = DPOP_ALGORITHMS.toReversed()
    .map((name) => JWS_ALGORITHMS.get(name))
    .find((one) => one !== undefined && fitsAlgorithm(one, privateKey));
  if (algorithm === undefined || privateKey.type !== "private") {
    throw new AssayError("KEY_UNAVAILABLE", "key must be a private EC P-256, EC P-384 or RSA key");
  }
  const htu = normalTargetUri(request.url);
  if (htu === undefined) throw new AssayError("INVALID_URL", "URL must be one of http or https");
  const jwk = spkiToJwk(createPublicKey(privateKey).export({ format: "der", type: "spki" }));
  const header = base64url(JSON.stringify({ typ: TYPE, alg: algorithm.name, jwk }));
  const { jti, method: htm, now: iat, nonce, accessToken } = request;
  const ath = accessToken === undefined ? undefined : accessTokenHash(accessToken);
  const payload = base64url(JSON.stringify({ jti, htm, htu, iat, ath, nonce }));
  const signature = signJws(algorithm, Buffer.from(`${header}.${payload}`, "latin1"), privateKey);
  return `${header}.${payload}.${Buffer.from(signature).toString("base64url")}`;
}

/** `ath`: SHA-256 over the ASCII octets of an access token, in base64url without padding (RFC 9449 §4.2). */
export function accessTokenHash(accessToken: string): string {
  return hash("sha256", accessToken, "base64url");
}

// RFC 7517 §4.2, §4.4: who made the key may say what it is for.
function requireMeantForProofs({ use, alg }: JsonObject, algorithm: JwsAlgorithm): void {
  if (use !== undefined && use !== "sig") fail("JWK member use must be sig, if present");
  if (alg !== undefined && alg !== algorithm.name)
    fail("JWK member alg must be that of the header, if present");
}

function requireTime(claims: JsonObject, check: DpopProofCheck): number {
  const { now, maxAgeSeconds = MAX_AGE_SECONDS, leewaySeconds = LEEWAY_SECONDS } = check;
  const issuedAt = dateClaim(claims, "iat", CODE) ?? fail("iat is missing");
  const notBefore = dateClaim(claims, "nbf", CODE) ?? issuedAt;
  const expiresAt = dateClaim(claims, "exp", CODE) ?? Number.POSITIVE_INFINITY;
  // What must hold is asked for, so that a bound that is no number lets nothing in.
  if (!(issuedAt >= now - maxAgeSeconds) || !(now < expiresAt + leewaySeconds)) fail("proof is too old");
  if (!(issuedAt <= now + leewaySeconds) || !(notBefore <= now + leewaySeconds)) {
    fail("proof is from the future");
  }
  return issuedAt;
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_DPOP_PROOF";
const TYPE = "dpop+jwt";
const KIND = {
  code: CODE,
  types: [TYPE],
  typeOptional: false,
  algorithms: DPOP_ALGORITHMS,
  maxCharacters: 8192,
} as const;
const MAX_AGE_SECONDS = 60;
const LEEWAY_SECONDS = 5;
const MAX_JTI = 256;
const JTI = /^[\x21-\x7e]{1,256}$/;
const NONCE = /^[\x21-\x7e]{1,512}$/;
