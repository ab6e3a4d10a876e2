import { parseBundleDocument } from "../crypto/bundle-document.ts";
import { parseBundleMap } from "../crypto/bundle-map.ts";
import { importPublicKey } from "../crypto/keys.ts";
import { parsePemCertificates } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../spiffe/trust-domain.ts";
import type {
  JwtBundle,
  JwtBundleSource,
  WitBundle,
  WitBundleSource,
  X509Bundle,
  X509BundleSource,
} from "./bundles.ts";

/** Everything that a trust domain says about whom to believe, a bundle for each kind of SVID. */
export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly x509: X509Bundle;
  readonly jwt: JwtBundle;
  readonly wit: WitBundle;
}

/** A source of every kind of bundle. */
export type BundleSource = X509BundleSource & JwtBundleSource & WitBundleSource;

/**
 * Reads a SPIFFE bundle in JSON (Trust Domain and Bundle §4), as a bundle endpoint serves it. Each key counts for the
 * kind of SVID that its `use` names and for no other.
 * @param trustDomain `example.org` or `spiffe://example.org`; the document itself does not say.
 * @throws AssayError `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE` naming the entry and member.
 */
export function parseSpiffeBundle(trustDomain: string, document: string | Uint8Array): TrustBundle {
  return trustBundleOf(parseBundleDocument(parseTrustDomainOrId(trustDomain), bytesOf(document)));
}

/**
 * Reads a SPIFFE bundle map in JSON (Trust Domain and Bundle §5.1.1): the bundles of several trust domains, as a whole or
 * not at all. It is the full state: a trust domain that an older map had and this one has not is trusted no longer.
 * @throws AssayError `INVALID_BUNDLE` naming the trust domain and member; also where one comes twice.
 */
export function parseSpiffeBundleMap(document: string | Uint8Array): readonly TrustBundle[] {
  return [...parseBundleMap(bytesOf(document)).values()].map(trustBundleOf);
}

/**
 * Reads X.509 authorities in PEM. Such a bundle says nothing of keys, so no JWT- or WIT-SVID is trusted by it.
 * @param trustDomain `example.org` or `spiffe://example.org`.
 * @throws AssayError `INVALID_TRUST_DOMAIN`, `INVALID_CERTIFICATE`.
 */
export function parsePemBundle(trustDomain: string, pem: string): TrustBundle {
  const authorities = parsePemCertificates(pem).map(({ der }) => der);
  return trustBundle(parseTrustDomainOrId(trustDomain), authorities, new Map(), new Map());
}

/** A source of these bundles, which never change. @throws AssayError `INVALID_BUNDLE` where two are of one trust domain. */
export function staticBundleSource(bundles: Iterable<TrustBundle>): BundleSource {
  const maps = bundleMaps(bundles);
  return {
    x509Bundles: () => maps.x509,
    jwtBundles: () => maps.jwt,
    witBundles: () => maps.wit,
    onUpdate: () => ({ [Symbol.dispose]: () => undefined }),
  };
}

/** What a source answers with. */
export interface BundleMaps {
  readonly x509: ReadonlyMap<TrustDomain, X509Bundle>;
  readonly jwt: ReadonlyMap<TrustDomain, JwtBundle>;
  readonly wit: ReadonlyMap<TrustDomain, WitBundle>;
}

/** The bundles by kind and trust domain. @throws AssayError `INVALID_BUNDLE` where two are of one trust domain. */
export function bundleMaps(bundles: Iterable<TrustBundle>): BundleMaps {
  const maps = {
    x509: new Map<TrustDomain, X509Bundle>(),
    jwt: new Map<TrustDomain, JwtBundle>(),
    wit: new Map<TrustDomain, WitBundle>(),
  };
  for (const { trustDomain, x509, jwt, wit } of bundles) {
    if (maps.x509.has(trustDomain)) {
      throw new AssayError("INVALID_BUNDLE", `there are two bundles of the trust domain ${trustDomain}`);
    }
    maps.x509.set(trustDomain, x509);
    maps.jwt.set(trustDomain, jwt);
    maps.wit.set(trustDomain, wit);
  }
  return maps;
}

function bytesOf(document: string | Uint8Array): Uint8Array {
  return typeof document === "string" ? Buffer.from(document, "utf8") : document;
}

function trustBundleOf(bundle: SpiffeBundle): TrustBundle {
  const authorities = bundle.x509Authorities.map(({ certificate }) => certificate);
  const keys = (list: readonly { readonly keyId: string; readonly publicKey: Uint8Array }[]) =>
    new Map(
      list.map(({ keyId, publicKey }) => [
        keyId,
        { publicKey: importPublicKey(publicKey, "INVALID_BUNDLE") },
      ]),
    );
  return trustBundle(
    bundle.trustDomain,
    authorities,
    keys(bundle.jwtAuthorities),
    keys(bundle.witAuthorities),
  );
}

function trustBundle(
  trustDomain: TrustDomain,
  authorities: X509Bundle["authorities"],
  jwt: JwtBundle["keys"],
  wit: WitBundle["keys"],
): TrustBundle {
  return {
    trustDomain,
    x509: { profile: "x509", trustDomain, authorities },
    jwt: { profile: "jwt", trustDomain, keys: jwt },
    wit: { profile: "wit", trustDomain, keys: wit },
  };
}
