import { createPublicKey, type KeyObject } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import { jwkToSpki } from "./jwk.ts";
import { parseJsonObject } from "./strict-json.ts";

/** A public key that tokens of one trust domain are verified with. */
export interface JwkSetKey {
  readonly publicKey: KeyObject;
}

/**
 * The keys of a JWK set as the Workload API sends it (Workload API §6.2.2, §7.2.2), by `kid`, of at most 4 MiB. A key of
 * another `use`, without `kid`, or of a kind that cannot be used here is left out and spoils no other (RFC 7517 §5).
 * @param use What the keys are for. Keys that do not say are taken: the set is of one kind by where it came from.
 * @throws AssayError `INVALID_BUNDLE` for what is no JWK set, and for a `kid` that two keys have.
 */
export function parseJwkSet(bytes: Uint8Array, use: "jwt-svid" | "wit-svid"): ReadonlyMap<string, JwkSetKey> {
  if (bytes.length > MAX_SET_BYTES) return fail(`JWK set is larger than ${MAX_SET_BYTES} bytes`);
  const set = parseJsonObject(bytes);
  if (typeof set === "string") return fail(`JWK set ${set}`);
  const { keys } = set;
  if (!Array.isArray(keys)) return fail("JWK set must have an array keys");
  const found = new Map<string, JwkSetKey>();
  for (const key of keys as readonly unknown[]) {
    if (typeof key !== "object" || key === null) return fail("JWK set must hold objects in keys");
    const { kid, use: said } = key as { readonly kid?: unknown; readonly use?: unknown };
    if (typeof kid !== "string" || kid === "" || (said !== undefined && said !== use)) continue;
    const publicKey = usableKey(key);
    if (publicKey === undefined) continue;
    if (found.has(kid)) return fail("JWK set has a kid twice");
    found.set(kid, { publicKey });
  }
  return found;
}

function usableKey(jwk: object): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(jwkToSpki(jwk)), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

function fail(detail: string): never {
  throw new AssayError("INVALID_BUNDLE", detail);
}

const MAX_SET_BYTES = 4 * 1024 * 1024;
