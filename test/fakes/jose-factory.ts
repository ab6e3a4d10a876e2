import { constants, createHmac, type KeyObject, sign } from "node:crypto";
import type { FactoryCertificate, FactoryKey } from "./svid-factory.ts";

/** A token, part by part. What is given as text goes in as it is, be it JSON or not. */
export interface TokenSpec {
  readonly key: FactoryKey;
  readonly header: object | string;
  readonly payload: object | string;
  /** Signs as this algorithm, whatever the header says; absent, as the header says. `none` leaves the signature empty. */
  readonly signAs?: string;
}

/** A JWS in compact serialisation, good or bad as asked. HS algorithms use the public key's PEM as their secret. */
export function makeToken(spec: TokenSpec): string {
  const input = `${encodePart(spec.header)}.${encodePart(spec.payload)}`;
  const alg =
    spec.signAs ?? String((typeof spec.header === "string" ? {} : (spec.header as { alg?: unknown })).alg);
  return `${input}.${signToken(alg, Buffer.from(input), spec.key).toString("base64url")}`;
}

/** A JWT-SVID that a strict validator takes, with whatever is to be different; `undefined` takes a member out. */
export function makeJwtSvid(
  key: FactoryKey,
  { header = {}, claims = {}, signAs }: { header?: object; claims?: object; signAs?: string } = {},
): string {
  const now = Math.floor(Date.now() / 1000);
  return makeToken({
    key,
    header: { alg: ALGORITHM_OF[key.kind], kid: "factory", typ: "JWT", ...header },
    payload: {
      sub: "spiffe://factory.test/workload",
      aud: ["audience"],
      exp: now + 300,
      iat: now,
      ...claims,
    },
    ...(signAs === undefined ? {} : { signAs }),
  });
}

/** A key as JWK, with whatever members it shall have besides its own or in their place. */
export function makeJwk(key: FactoryKey, members: object = {}): Record<string, unknown> {
  return { ...key.publicKey.export({ format: "jwk" }), ...members };
}

/** A certificate as the JWK of a SPIFFE bundle (X509-SVID §6.1). */
export function makeX509Jwk(authority: FactoryCertificate, members: object = {}): Record<string, unknown> {
  return makeJwk(authority.key, { use: "x509-svid", x5c: [authority.der.toString("base64")], ...members });
}

/** A bundle document with these keys and further members at the top. */
export function makeBundleDocument(keys: readonly object[], members: object = {}): Buffer {
  return Buffer.from(JSON.stringify({ spiffe_sequence: 1, ...members, keys }));
}

function encodePart(part: object | string): string {
  return Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
}

function signToken(alg: string, input: Buffer, { privateKey, publicKey }: FactoryKey): Buffer {
  const digest = `sha${alg.slice(2)}`;
  switch (alg.slice(0, 2)) {
    case "RS":
      return sign(digest, input, privateKey);
    case "PS":
      return sign(digest, input, {
        key: privateKey,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      });
    case "ES":
      return sign(DIGITS.test(alg) ? digest : "sha256", input, {
        key: privateKey,
        dsaEncoding: "ieee-p1363",
      });
    case "Ed":
      return sign(null, input, privateKey);
    case "HS":
      return createHmac(digest, pemOf(publicKey)).update(input).digest();
    default:
      return Buffer.alloc(0);
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ format: "pem", type: "spki" }).toString();
}

const DIGITS = /^ES\d{3}$/;
const ALGORITHM_OF: Readonly<Record<FactoryKey["kind"], string>> = {
  "ec-p256": "ES256",
  "ec-p384": "ES384",
  "ec-p521": "ES512",
  "rsa-1024": "RS256",
  "rsa-2048": "RS256",
  "rsa-4096": "RS256",
  ed25519: "EdDSA",
};
