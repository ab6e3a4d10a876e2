import { readCertificate } from "../crypto/certificate-reader.ts";
import { importPublicKey, keyTypeOf } from "../crypto/keys.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { JwtAuthorityKey, SpiffeBundle, WitAuthorityKey } from "../spiffe/bundle.ts";
import type { BundleEdits } from "./authority.ts";

/** Authorities to add to a bundle. */
export interface BundleAdditions {
  /** DER certificates of X.509 authorities. */
  readonly x509Authorities: readonly Uint8Array[];
  readonly jwtAuthorities: readonly JwtAuthorityKey[];
  /** None unless given. */
  readonly witAuthorities?: readonly WitAuthorityKey[];
}

/**
 * The bundle with these authorities in it, each once; the same object where all are in it already. What is there
 * stays as it is: a tainted authority does not become untainted by being added again.
 */
export function withAuthorities(bundle: SpiffeBundle, additions: BundleAdditions): SpiffeBundle {
  const certificates = additions.x509Authorities.filter(
    (certificate, at, all) =>
      !bundle.x509Authorities.some((held) => equal(held.certificate, certificate)) &&
      all.findIndex((other) => equal(other, certificate)) === at,
  );
  const jwtAuthorities = additions.jwtAuthorities.reduce(withKey, bundle.jwtAuthorities);
  const witAuthorities = (additions.witAuthorities ?? []).reduce(withKey, bundle.witAuthorities);
  const hasNewKeys = jwtAuthorities !== bundle.jwtAuthorities || witAuthorities !== bundle.witAuthorities;
  if (certificates.length === 0 && !hasNewKeys) return bundle;
  return {
    ...bundle,
    x509Authorities: [
      ...bundle.x509Authorities,
      ...certificates.map((certificate) => ({ certificate, tainted: false })),
    ],
    jwtAuthorities,
    witAuthorities,
  };
}

/**
 * How an X.509 authority, known by its own certificate, comes into a bundle, is tainted in it, and leaves it. One that was signed
 * elsewhere never comes into it: its root is what others trust.
 */
export const x509AuthorityEdits: BundleEdits = {
  publish: (bundle, { chain }) =>
    withAuthorities(bundle, { x509Authorities: chain.slice(0, 1).filter(isSelfIssued), jwtAuthorities: [] }),
  taint: (bundle, { chain: [own] }) => {
    const x509Authorities = changed(
      bundle.x509Authorities,
      ({ certificate, tainted }) => !tainted && own !== undefined && equal(certificate, own),
      (held) => ({ ...held, tainted: true }),
    );
    return x509Authorities === bundle.x509Authorities ? bundle : { ...bundle, x509Authorities };
  },
  unpublish: (bundle, { chain: [own] }) => {
    const x509Authorities = bundle.x509Authorities.filter(
      ({ certificate }) => own === undefined || !equal(certificate, own),
    );
    return x509Authorities.length === bundle.x509Authorities.length ? bundle : { ...bundle, x509Authorities };
  },
};

/** Whether a certificate (DER) names itself as its issuer. */
export function isSelfIssued(certificate: Uint8Array): boolean {
  const { subject, issuer } = readCertificate(certificate);
  return equal(subject, issuer);
}

/** The same for a JWT or WIT authority, known by its key ID. */
export function tokenAuthorityEdits(kind: "jwt" | "wit"): BundleEdits {
  const field = kind === "jwt" ? "jwtAuthorities" : "witAuthorities";
  const edited = (bundle: SpiffeBundle, keys: readonly JwtAuthorityKey[]): SpiffeBundle =>
    keys === bundle[field] ? bundle : { ...bundle, [field]: keys };
  return {
    publish: (bundle, { id, publicKey, notAfter }) =>
      edited(bundle, withKey(bundle[field], { keyId: id, publicKey, expiresAt: notAfter, tainted: false })),
    taint: (bundle, { id }) =>
      edited(
        bundle,
        changed(
          bundle[field],
          ({ keyId, tainted }) => !tainted && keyId === id,
          (held) => ({ ...held, tainted: true }),
        ),
      ),
    unpublish: (bundle, { id }) => {
      const left = bundle[field].filter(({ keyId }) => keyId !== id);
      return edited(bundle, left.length === bundle[field].length ? bundle[field] : left);
    },
  };
}

/**
 * Checks authorities that came from outside before they are added: certificates of CAs, keys that a JWT or WIT
 * authority can have, and no key ID that the bundle or the additions use for another key, of whatever kind (WIT-SVID §6.1).
 * @throws AssayError `INVALID_BUNDLE` naming which one is wrong.
 */
export function checkAdditions(bundle: SpiffeBundle, additions: BundleAdditions): void {
  for (const [at, der] of additions.x509Authorities.entries()) {
    const { basicConstraints } = readCertificate(der, "INVALID_BUNDLE");
    if (basicConstraints?.ca !== true) throw invalid(`x509Authorities/${at} is not the certificate of a CA`);
  }
  const held = new Map<string, { readonly field: KeyField; readonly publicKey: Uint8Array }>();
  for (const field of KEY_FIELDS) {
    for (const { keyId, publicKey } of bundle[field]) held.set(keyId, { field, publicKey });
  }
  for (const field of KEY_FIELDS) {
    for (const [at, { keyId, publicKey }] of (additions[field] ?? []).entries()) {
      if (keyId === "") throw invalid(`${field}/${at} has no key id`);
      keyTypeOf(publicKey, "INVALID_BUNDLE");
      importPublicKey(publicKey, "INVALID_BUNDLE");
      const known = held.get(keyId);
      if (known !== undefined && (known.field !== field || !equal(known.publicKey, publicKey))) {
        throw invalid(`${field}/${at} has the key id of another key`);
      }
      held.set(keyId, { field, publicKey });
    }
  }
}

function withKey(keys: readonly JwtAuthorityKey[], key: JwtAuthorityKey): readonly JwtAuthorityKey[] {
  return keys.some(({ keyId }) => keyId === key.keyId) ? keys : [...keys, key];
}

/** The list with the items that `which` names changed; the same list where there is none. */
function changed<Item>(
  items: readonly Item[],
  which: (item: Item) => boolean,
  change: (item: Item) => Item,
): readonly Item[] {
  return items.some(which) ? items.map((item) => (which(item) ? change(item) : item)) : items;
}

function invalid(detail: string): AssayError {
  return new AssayError("INVALID_BUNDLE", detail);
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

type KeyField = "jwtAuthorities" | "witAuthorities";

const KEY_FIELDS: readonly KeyField[] = ["jwtAuthorities", "witAuthorities"];
