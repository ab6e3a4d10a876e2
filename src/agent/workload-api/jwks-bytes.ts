import { spkiToJwk } from "../../crypto/jose/jwk.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";

/**
 * The keys of one kind of a bundle as a JWK Set (RFC 7517) in JSON: each with `kid` and without `use`, the form that every
 * client takes (Workload API §6.2.2, §7.2.2). A key that no client could use is left out, as it would spoil the whole set
 * for some.
 */
export function jwksText(bundle: SpiffeBundle, kind: "jwt" | "wit" = "jwt"): string {
  const known = texts[kind].get(bundle);
  if (known !== undefined) return known;
  const authorities = kind === "jwt" ? bundle.jwtAuthorities : bundle.witAuthorities;
  const keys = authorities.flatMap(({ keyId, publicKey }) => {
    try {
      return [spkiToJwk(publicKey, { keyId })];
    } catch {
      return [];
    }
  });
  const text = JSON.stringify({ keys });
  texts[kind].set(bundle, text);
  return text;
}

const texts = { jwt: new WeakMap<SpiffeBundle, string>(), wit: new WeakMap<SpiffeBundle, string>() };
