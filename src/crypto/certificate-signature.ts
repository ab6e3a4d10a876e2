import { createPublicKey, type KeyObject, verify } from "node:crypto";
import type { Certificate } from "./certificate-reader.ts";

/** Something that an authority signed: a certificate or a CRL. */
export type SignedByAuthority = Pick<Certificate, "tbs" | "signature" | "signatureAlgorithm">;

/**
 * Whether `issuer`'s key made the signature of `signed`. False for keys that Assay trusts no signature of: RSA
 * below 2048 bits, curves but P-256, P-384 and P-521, a key of another kind than the signature.
 */
export function isSignedBy(signed: SignedByAuthority, issuer: Certificate): boolean {
  const key = publicKeyOf(issuer);
  const { keyKind, digest } = signed.signatureAlgorithm;
  if (key === undefined || key.asymmetricKeyType !== keyKind) return false;
  try {
    return verify(digest, signed.tbs, key, signed.signature);
  } catch {
    return false;
  }
}

/** The certificate's key, imported once; undefined where it cannot be used. */
function publicKeyOf(certificate: Certificate): KeyObject | undefined {
  const known = imported.get(certificate);
  if (known !== undefined) return known === UNUSABLE ? undefined : known;
  const key = importStrong(certificate.spki);
  imported.set(certificate, key ?? UNUSABLE);
  return key;
}

function importStrong(spki: Uint8Array): KeyObject | undefined {
  try {
    const key = createPublicKey({
      key: Buffer.from(spki.buffer, spki.byteOffset, spki.length),
      format: "der",
      type: "spki",
    });
    const { modulusLength = 0, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
    const isStrong =
      key.asymmetricKeyType === "rsa"
        ? modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS
        : key.asymmetricKeyType === "ec" && CURVES.has(namedCurve);
    return isStrong ? key : undefined;
  } catch {
    return undefined;
  }
}

const UNUSABLE = Symbol("unusable key");
const imported = new WeakMap<Certificate, KeyObject | typeof UNUSABLE>();
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;
const CURVES: ReadonlySet<string> = new Set(["prime256v1", "secp384r1", "secp521r1"]);
