import { type Clock, unixSeconds } from "../../clock.ts";
import {
  type JwtVerificationKey,
  parseJwtSvidInsecure,
  verifyJwtSvid,
} from "../../crypto/jose/jwt-svid-verify.ts";
import { tokenIdOf } from "../../crypto/jose/token-id.ts";
import type { JsonObject } from "../../crypto/jose/strict-json.ts";
import { importPublicKey } from "../../crypto/keys.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type SpiffeId, trustDomainOf } from "../../spiffe/id.ts";

/** What a valid JWT-SVID says. */
export interface ValidatedJwtSvid {
  readonly spiffeId: SpiffeId;
  /** `aud` is always a list. */
  readonly claims: JsonObject;
}

/**
 * Validates a JWT-SVID strictly, without leeway, with the bundle of its subject's trust domain and no other
 * (Workload API §6.2.3, §6.3). The first bundle is our own, and of its tokens a revoked one is refused; of a foreign token only `sub`, `exp`, `aud` and the allowed
 * claims are passed on.
 * @throws AssayError `INVALID_JWT_SVID`.
 */
export async function validateJwtSvid(
  token: string,
  audience: string,
  bundles: readonly SpiffeBundle[],
  options: {
    readonly clock: Clock;
    readonly allowedForeignJwtClaims: readonly string[];
    /** Tokens of our own trust domain that are revoked. */
    readonly revoked: { has(tokenId: string): boolean };
  },
): Promise<ValidatedJwtSvid> {
  const trustDomain = trustDomainOf(parseJwtSvidInsecure(token).spiffeId);
  const bundle = bundles.find((candidate) => candidate.trustDomain === trustDomain);
  if (bundle === undefined) {
    throw new AssayError("INVALID_JWT_SVID", `there is no bundle of the trust domain ${trustDomain}`);
  }
  const {
    spiffeId,
    claims,
    audience: aud,
  } = await verifyJwtSvid(token, keysOf(bundle), {
    audience,
    now: unixSeconds(options.clock),
  });
  const all: JsonObject = { ...claims, aud: [...aud] };
  if (bundle === bundles[0]) {
    if (options.revoked.has(tokenIdOf(token, claims))) {
      throw new AssayError("INVALID_JWT_SVID", "the JWT-SVID has been revoked");
    }
    return { spiffeId, claims: all };
  }
  const kept = new Set(["sub", "exp", "aud", ...options.allowedForeignJwtClaims]);
  return { spiffeId, claims: Object.fromEntries(Object.entries(all).filter(([name]) => kept.has(name))) };
}

function keysOf(bundle: SpiffeBundle): ReadonlyMap<string, JwtVerificationKey> {
  const known = keysByBundle.get(bundle);
  if (known !== undefined) return known;
  const keys = new Map<string, JwtVerificationKey>();
  for (const { keyId, publicKey } of bundle.jwtAuthorities) {
    try {
      keys.set(keyId, { publicKey: importPublicKey(publicKey, "INVALID_BUNDLE") });
    } catch {
      // A key that cannot be used verifies nothing; the others of its bundle still do.
    }
  }
  keysByBundle.set(bundle, keys);
  return keys;
}

const keysByBundle = new WeakMap<SpiffeBundle, ReadonlyMap<string, JwtVerificationKey>>();
