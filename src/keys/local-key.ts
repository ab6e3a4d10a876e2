/**
 * keys/ — key managers: plugins that hold the private keys of authorities, one folder each.
 *
 * Must never know what a key is for (no certificates, tokens, authorities), and never hand a private key out.
 * Called by the server's composition, which gives the key manager to signing.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { generateEcKeyPair, generateRsaKeyPair } from "../crypto/keys.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KeyType, ManagedKey, SignatureForm } from "../plugin/key-manager.ts";

/** A private key in this process: imported once, signing synchronously until it is destroyed. */
export interface LocalKey extends ManagedKey {
  sign(data: Uint8Array, form: SignatureForm): Uint8Array;
  /** Makes every later `sign` of this object throw `KEY_UNAVAILABLE`: the key was deleted or replaced. */
  destroy(): void;
}

/** Makes new key material: PKCS#8 DER. RSA-4096 takes seconds, on another thread. */
export async function generatePkcs8(type: KeyType): Promise<Uint8Array> {
  switch (type) {
    case "ec-p256":
    case "ec-p384":
      return generateEcKeyPair(type).pkcs8;
    case "rsa-2048":
      return (await generateRsaKeyPair(2048)).pkcs8;
    case "rsa-4096":
      return (await generateRsaKeyPair(4096)).pkcs8;
    default:
      throw new AssayError(
        "KEY_UNAVAILABLE",
        `key type ${JSON.stringify(type satisfies never)} is not supported`,
      );
  }
}

/**
 * Imports key material once, for all signatures to come.
 * @throws AssayError `KEY_UNAVAILABLE` where it is no PKCS#8 or a kind of key that no authority may have.
 */
export function importLocalKey(id: string, pkcs8: Uint8Array): LocalKey {
  const privateKey = readPkcs8(id, pkcs8);
  const type = typeOf(privateKey);
  if (type === undefined) {
    throw new AssayError("KEY_UNAVAILABLE", `key ${id} must be EC P-256, EC P-384, RSA-2048 or RSA-4096`);
  }
  const publicKey = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const digest = type === "ec-p384" ? "sha384" : "sha256";
  // One options object per form for the key's whole life: building it anew for each signature costs an import.
  const options = {
    der: { key: privateKey, dsaEncoding: "der" },
    p1363: { key: privateKey, dsaEncoding: "ieee-p1363" },
  } as const;
  let destroyed = false;

  return {
    id,
    type,
    publicKey,
    sign(data, form) {
      if (destroyed) throw new AssayError("KEY_UNAVAILABLE", `key ${id} was deleted or replaced`);
      return sign(digest, data, options[form]);
    },
    destroy() {
      destroyed = true;
    },
  };
}

function readPkcs8(id: string, pkcs8: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  } catch {
    // The cause stays out: OpenSSL's message could quote what it choked on.
    throw new AssayError("KEY_UNAVAILABLE", `key ${id} is not a PKCS#8 private key`);
  }
}

function typeOf(key: KeyObject): KeyType | undefined {
  const details = key.asymmetricKeyDetails;
  switch (key.asymmetricKeyType) {
    case "ec":
      if (details?.namedCurve === "prime256v1") return "ec-p256";
      return details?.namedCurve === "secp384r1" ? "ec-p384" : undefined;
    case "rsa":
      if (details?.modulusLength === 2048) return "rsa-2048";
      return details?.modulusLength === 4096 ? "rsa-4096" : undefined;
    default:
      return undefined;
  }
}
