import { AssayError } from "../../errors/assay-error.ts";
import { OIDS } from "../der/oid.ts";
import { bitString, encode, nullValue, oid, sequence, unsignedInteger } from "../der/writer.ts";
import { importPublicKey } from "../keys.ts";
import { readVerificationSpki } from "../spki.ts";

/** A public key as JWK (RFC 7517, RFC 7518 §6) with just the members that SPIFFE clients expect. */
export type PublicJwk = EcPublicJwk | RsaPublicJwk;

/** Members that every JWK may have besides those of its kind. */
interface JwkCommon {
  readonly kid?: string;
  readonly use?: string;
}

/** An EC key. */
export interface EcPublicJwk extends JwkCommon {
  readonly kty: "EC";
  readonly crv: "P-256" | "P-384" | "P-521";
  readonly x: string;
  readonly y: string;
}

/** An RSA key. */
export interface RsaPublicJwk extends JwkCommon {
  readonly kty: "RSA";
  readonly n: string;
  readonly e: string;
}

/** One key of a JWK set to be written. */
export interface JwkEntry {
  readonly keyId: string;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/**
 * A public key as JWK, with members in a fixed order.
 * @throws AssayError `INVALID_BUNDLE` for keys that no JWT authority may have.
 */
export function spkiToJwk(
  spki: Uint8Array,
  options: { readonly keyId?: string; readonly use?: string } = {},
): PublicJwk {
  const facts = readVerificationSpki(spki, "INVALID_BUNDLE");
  const common = {
    ...(options.keyId === undefined ? {} : { kid: options.keyId }),
    ...(options.use === undefined ? {} : { use: options.use }),
  };
  if (facts.keyType === "rsa") {
    return { kty: "RSA", ...common, n: base64url(facts.modulus), e: base64url(facts.exponent) };
  }
  const crv = CURVE_NAMES[facts.keyType];
  return { kty: "EC", ...common, crv, x: base64url(facts.x), y: base64url(facts.y) };
}

/**
 * The SubjectPublicKeyInfo of a JWK that somebody else wrote. Members that do not make the key are ignored; the key
 * must be EC P-256, P-384 or P-521 (on its curve) or RSA of 2048 to 4096 bits, in unpadded base64url.
 * @throws AssayError `INVALID_BUNDLE` naming the member.
 */
export function jwkToSpki(jwk: unknown): Uint8Array {
  if (typeof jwk !== "object" || jwk === null) return fail("JWK must be an object");
  const members = jwk as Readonly<Record<string, unknown>>;
  if ("d" in members) fail("JWK must be a public key, has the private member d");
  const spki = encodeMembers(members);
  readVerificationSpki(spki, "INVALID_BUNDLE");
  importPublicKey(spki, "INVALID_BUNDLE");
  return spki;
}

/** The JWK set of a trust domain's JWT authorities; `use` only where it is given (a SPIFFE bundle has it, the Workload API not). */
export function jwkSet(
  keys: readonly JwkEntry[],
  use?: "jwt-svid" | "sig",
): { readonly keys: readonly PublicJwk[] } {
  return {
    keys: keys.map(({ keyId, spki }) => spkiToJwk(spki, use === undefined ? { keyId } : { keyId, use })),
  };
}

function encodeMembers(members: Readonly<Record<string, unknown>>): Uint8Array {
  switch (members["kty"]) {
    case "EC": {
      const curve = CURVES.get(members["crv"]);
      if (curve === undefined) return fail("JWK member crv must be P-256, P-384 or P-521");
      const point = Buffer.concat([
        Uint8Array.of(4),
        coordinate(members["x"], "x", curve.size),
        coordinate(members["y"], "y", curve.size),
      ]);
      return encode(sequence(sequence(oid(OIDS.ecPublicKey), oid(curve.oid)), bitString(point)));
    }
    case "RSA": {
      const key = encode(
        sequence(unsignedInteger(octets(members["n"], "n")), unsignedInteger(octets(members["e"], "e"))),
      );
      return encode(sequence(sequence(oid(OIDS.rsaEncryption), nullValue()), bitString(key)));
    }
    default:
      return fail("JWK member kty must be EC or RSA");
  }
}

function coordinate(value: unknown, member: string, size: number): Uint8Array {
  const bytes = octets(value, member);
  if (bytes.length !== size) fail(`JWK member ${member} must be ${size} octets`);
  return bytes;
}

function octets(value: unknown, member: string): Uint8Array {
  if (typeof value !== "string" || value === "" || value.length > MAX_MEMBER_CHARACTERS) {
    return fail(`JWK member ${member} must be base64url of at most ${MAX_MEMBER_CHARACTERS} characters`);
  }
  const bytes = Buffer.from(value, "base64url");
  if (bytes.toString("base64url") !== value) fail(`JWK member ${member} must be unpadded base64url`);
  return bytes;
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64url");
}

function fail(detail: string): never {
  throw new AssayError("INVALID_BUNDLE", detail);
}

const MAX_MEMBER_CHARACTERS = 1024;
const CURVES: ReadonlyMap<unknown, { readonly oid: string; readonly size: number }> = new Map([
  ["P-256", { oid: OIDS.p256, size: 32 }],
  ["P-384", { oid: OIDS.p384, size: 48 }],
  ["P-521", { oid: OIDS.p521, size: 66 }],
]);
const CURVE_NAMES = { "ec-p256": "P-256", "ec-p384": "P-384", "ec-p521": "P-521" } as const;
