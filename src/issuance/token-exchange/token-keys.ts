import { importPublicKey } from "../../crypto/keys.ts";
import type { JwtVerificationKey } from "../../crypto/jose/jwt-svid-verify.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";

/** Keys by the `kid` of the tokens that they verify. */
export type TokenKeys = ReadonlyMap<string, JwtVerificationKey>;

/** The JWT authorities of a bundle, each imported once for as long as the bundle is the same object. */
export function jwtKeysOf(bundle: SpiffeBundle): TokenKeys {
  return keysOf(jwtKeys, bundle, bundle.jwtAuthorities);
}

/** The WIT authorities of a bundle, as {@link jwtKeysOf}. */
export function witKeysOf(bundle: SpiffeBundle): TokenKeys {
  return keysOf(witKeys, bundle, bundle.witAuthorities);
}

function keysOf(
  known: WeakMap<SpiffeBundle, TokenKeys>,
  bundle: SpiffeBundle,
  authorities: readonly { readonly keyId: string; readonly publicKey: Uint8Array }[],
): TokenKeys {
  let keys = known.get(bundle);
  if (keys === undefined) {
    keys = new Map(
      authorities.map(({ keyId, publicKey }) => [
        keyId,
        { publicKey: importPublicKey(publicKey, "INVALID_BUNDLE") },
      ]),
    );
    known.set(bundle, keys);
  }
  return keys;
}

const jwtKeys = new WeakMap<SpiffeBundle, TokenKeys>();
const witKeys = new WeakMap<SpiffeBundle, TokenKeys>();
