import type { KeyObject } from "node:crypto";
import { makeJwk, makeJwtSvid, makeToken } from "./jose-factory.ts";
import {
  type CertificateSpec,
  type FactoryCertificate,
  type FactoryKey,
  makeFactoryKey,
  makeLeaf,
} from "./svid-factory.ts";

/** One SVID of FetchX509SVID as a good endpoint sends it, with whatever is to be different. */
export function x509SvidMessage(
  spiffeId: string,
  authority: FactoryCertificate,
  more: {
    readonly hint?: string;
    readonly leaf?: CertificateSpec;
    readonly chain?: readonly Uint8Array[];
  } = {},
) {
  const leaf = makeLeaf(spiffeId, authority, more.leaf);
  return {
    spiffeId,
    x509Svid: Buffer.concat([leaf.der, ...(more.chain ?? [])]),
    x509SvidKey: pkcs8(leaf.key.privateKey),
    bundle: authority.der,
    hint: more.hint ?? "",
  };
}

/** A JWK set of these keys, as the Workload API sends it. */
export function jwkSetText(keys: Readonly<Record<string, FactoryKey>>, members: object = {}): string {
  return JSON.stringify({
    keys: Object.entries(keys).map(([kid, key]) => makeJwk(key, { kid, ...members })),
  });
}

/** As {@link jwkSetText}, in the bytes that FetchJWTBundles has. */
export function jwkSetBytes(keys: Readonly<Record<string, FactoryKey>>, members: object = {}): Buffer {
  return Buffer.from(jwkSetText(keys, members));
}

/** One SVID of FetchJWTSVID. */
export function jwtSvidMessage(
  spiffeId: string,
  key: FactoryKey,
  more: { readonly hint?: string; readonly claims?: object } = {},
) {
  return {
    spiffeId,
    svid: makeJwtSvid(key, { claims: { sub: spiffeId, ...more.claims } }),
    hint: more.hint ?? "",
  };
}

/** A WIT-SVID that a strict validator takes, with whatever is to be different; `undefined` takes a member out. */
export function makeWitSvid(
  authority: FactoryKey,
  holder: FactoryKey,
  { header = {}, claims = {}, cnf = {} }: { header?: object; claims?: object; cnf?: object } = {},
): string {
  const now = Math.floor(Date.now() / 1000);
  return makeToken({
    key: authority,
    header: { alg: "ES256", kid: "wit", typ: "wit+jwt", ...header },
    payload: {
      sub: "spiffe://factory.test/workload",
      exp: now + 3600,
      iat: now,
      jti: "one",
      cnf: { jwk: makeJwk(holder, { alg: "ES256", ...cnf }) },
      ...claims,
    },
  });
}

/** One SVID of FetchWITSVID. */
export function witSvidMessage(
  spiffeId: string,
  authority: FactoryKey,
  more: { readonly hint?: string; readonly holder?: FactoryKey; readonly claims?: object } = {},
) {
  const holder = more.holder ?? makeFactoryKey();
  return {
    spiffeId,
    witSvid: makeWitSvid(authority, holder, { claims: { sub: spiffeId, ...more.claims } }),
    witSvidKey: JSON.stringify(holder.privateKey.export({ format: "jwk" })),
    hint: more.hint ?? "",
  };
}

function pkcs8(key: KeyObject): Buffer {
  return key.export({ type: "pkcs8", format: "der" });
}
