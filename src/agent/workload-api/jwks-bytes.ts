import { spkiToJwk } from "../../crypto/jose/jwk.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";

/**
 * The JWT keys of a bundle as a JWK Set (RFC 7517) in JSON: each with `kid` and without `use`, the form that every client
 * takes (Workload API §6.2.2). A key that no client could use is left out, as it would spoil the whole set for some.
 */
export function jwksText(bundle: SpiffeBundle): string {
  const known = texts.get(bundle);
  if (known !== undefined) return known;
  const keys = bundle.jwtAuthorities.flatMap(({ keyId, publicKey }) => {
    try {
      return [spkiToJwk(publicKey, { keyId })];
    } catch {
      return [];
    }
  });
  const text = JSON.stringify({ keys });
  texts.set(bundle, text);
  return text;
}

const texts = new WeakMap<SpiffeBundle, string>();
