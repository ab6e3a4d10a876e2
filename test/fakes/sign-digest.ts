import { constants, createECDH, type KeyObject, privateEncrypt, randomBytes } from "node:crypto";

/**
 * Signs a digest and not a message, as services that hold keys do and `node:crypto` does not: ECDSA in DER, RSA by
 * PKCS #1 v1.5 with SHA-256.
 */
export function signDigest(privateKey: KeyObject, digest: Uint8Array): Uint8Array {
  if (privateKey.asymmetricKeyType === "ec") return ecdsa(privateKey, digest);
  const info = Buffer.concat([SHA256_INFO, digest]);
  return new Uint8Array(privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, info));
}

/** ECDSA by the book (FIPS 186-5 §6.4.1): the point comes from OpenSSL, the rest is arithmetic. */
function ecdsa(privateKey: KeyObject, digest: Uint8Array): Uint8Array {
  const { crv = "", d = "" } = privateKey.export({ format: "jwk" });
  const curve = CURVES.get(crv);
  if (curve === undefined) throw new Error(`no such curve: ${crv}`);
  const { name, size, order } = curve;
  const secret = toNumber(Buffer.from(d, "base64url"));
  for (;;) {
    const nonce = randomBytes(size);
    const k = toNumber(nonce);
    if (k === 0n || k >= order) continue;
    const ecdh = createECDH(name);
    ecdh.setPrivateKey(nonce);
    const r = toNumber(ecdh.getPublicKey().subarray(1, 1 + size)) % order;
    const s = (inverse(k, order) * (toNumber(digest.subarray(0, size)) + r * secret)) % order;
    if (r !== 0n && s !== 0n) return element(0x30, Buffer.concat([integer(r), integer(s)]));
  }
}

function inverse(value: bigint, modulus: bigint): bigint {
  let result = 1n;
  let base = value % modulus;
  for (let exponent = modulus - 2n; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return result;
}

function integer(value: bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return element(2, (bytes[0] as number) < 0x80 ? bytes : Buffer.concat([Buffer.of(0), bytes]));
}

function element(tag: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(tag, content.length), content]);
}

function toNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
}

const SHA256_INFO = Buffer.from("3031300d060960864801650304020105000420", "hex");
const CURVES = new Map([
  [
    "P-256",
    {
      name: "prime256v1",
      size: 32,
      order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
    },
  ],
  [
    "P-384",
    {
      name: "secp384r1",
      size: 48,
      order:
        0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
    },
  ],
]);
