import { createPublicKey, type KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { jwkToSpki } from "./jwk.ts";
import { parseJsonObject } from "./strict-json.ts";

/** A key of an OpenID provider. */
export interface OidcKey {
  readonly publicKey: KeyObject;
  /** The only algorithm it is for, where the provider says so (RFC 7517 §4.4). */
  readonly algorithm?: string;
}

/** The keys of one OpenID provider by `kid`. Nearly always one each; some providers publish one `kid` for two algorithms. */
export type OidcKeySet = ReadonlyMap<string, readonly OidcKey[]>;

/** How much of a provider's key set is read. */
export const OIDC_KEY_SET_LIMITS = {
  /** Bytes of the document. */
  bytes: 524_288,
  /** Keys, usable or not. */
  keys: 256,
  /** Usable keys of one `kid`. */
  keysOfOneId: 4,
} as const;

/**
 * The signature keys of an OpenID provider's JWK set (RFC 7517, OpenID Connect Core §10.1.1), bounded by
 * {@link OIDC_KEY_SET_LIMITS}. A key for another use, without `kid`, or of a kind that cannot be used here is left out
 * and spoils no other (RFC 7517 §5): RSA of 2048 to 4096 bits and EC on the NIST curves remain.
 * @throws AssayError `INVALID_BUNDLE` for what is no JWK set, is too large, or has no usable key.
 */
export function parseOidcKeys(bytes: Uint8Array): OidcKeySet {
  const { bytes: most, keys: mostKeys, keysOfOneId } = OIDC_KEY_SET_LIMITS;
  if (bytes.length > most) return fail(`JWK set is larger than ${most} bytes`);
  const set = parseJsonObject(bytes);
  if (typeof set === "string") return fail(`JWK set ${set}`);
  const { keys } = set;
  if (!Array.isArray(keys)) return fail("JWK set must have an array keys");
  if (keys.length > mostKeys) return fail(`JWK set has more than ${mostKeys} keys`);
  const found = new Map<string, OidcKey[]>();
  for (const jwk of keys as readonly unknown[]) {
    if (typeof jwk !== "object" || jwk === null) return fail("JWK set must hold objects in keys");
    const { kid } = jwk as { readonly kid?: unknown };
    const key = typeof kid === "string" && kid !== "" ? usableKey(jwk) : undefined;
    if (typeof kid !== "string" || key === undefined) continue;
    const same = found.get(kid) ?? [];
    if (same.length >= keysOfOneId) return fail(`JWK set has one kid more than ${keysOfOneId} times`);
    found.set(kid, [...same, key]);
  }
  return found.size === 0 ? fail("JWK set has no key that signatures could be verified with") : found;
}

function usableKey(jwk: object): OidcKey | undefined {
  const { use, alg, key_ops: operations } = jwk as Readonly<Record<string, unknown>>;
  if (use !== undefined && use !== "sig") return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) {
    return undefined;
  }
  if (alg !== undefined && typeof alg !== "string") return undefined;
  try {
    const publicKey = createPublicKey({ key: Buffer.from(jwkToSpki(jwk)), format: "der", type: "spki" });
    return alg === undefined ? { publicKey } : { publicKey, algorithm: alg };
  } catch {
    return undefined;
  }
}

function fail(detail: string): never {
  throw new AssayError("INVALID_BUNDLE", detail);
}
