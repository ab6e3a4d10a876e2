import { constants, type KeyObject, sign } from "node:crypto";
import { compactVerify } from "jose";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { type JsonObject, parseJsonObject } from "./strict-json.ts";
import { SVID_ALGORITHMS, type SvidAlgorithm } from "./svid-algorithms.ts";

/** One of the nine algorithms of SVIDs with the keys that it takes. */
export interface JwsAlgorithm {
  /** As `alg` names it. */
  readonly name: SvidAlgorithm;
  /** Kind of key that it takes, as `node:crypto` knows it. */
  readonly kind: "ec" | "rsa";
  /** Curve of the key, as OpenSSL names it; absent for RSA. */
  readonly curve?: string;
}

/** A JWS that was taken apart and not verified. */
export interface CompactJws {
  readonly algorithm: JwsAlgorithm;
  readonly header: JsonObject;
  readonly payload: JsonObject;
  /** The whole, as it was given. */
  readonly text: string;
}

/** How a kind of token names what is wrong with it. */
export interface JwsKind {
  readonly code: ErrorCode;
  /** `typ` values that it may have; compared exactly. */
  readonly types: readonly string[];
  /** Whether `typ` may be absent. */
  readonly typeOptional: boolean;
  /** The longest text that is read, in characters; 16384 unless given. */
  readonly maxCharacters?: number;
  /** `alg` values that it may have, fewer than the nine; all of them unless given. */
  readonly algorithms?: readonly SvidAlgorithm[];
}

/**
 * Takes a JWS in compact serialisation apart. In this order: size, three parts of unpadded base64url, `alg` among those
 * of the kind, `typ`, neither `crit` nor `b64`, payload an object without repeated members.
 * @throws AssayError `kind.code`; the detail never holds any part of the token but names of members.
 */
export function splitCompactJws(text: string, kind: JwsKind): CompactJws {
  const fail = (detail: string): never => {
    throw new AssayError(kind.code, detail);
  };
  const { algorithms = SVID_ALGORITHMS, maxCharacters = MAX_TOKEN_CHARACTERS } = kind;
  if (text.length > maxCharacters) fail(`token must be at most ${maxCharacters} characters`);
  const [header, payload, signature, ...more] = text.split(".");
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    return fail("token must be a JWS in compact serialisation, three parts with two dots");
  }
  const members = objectIn(header, "header", fail);
  const algorithm = JWS_ALGORITHMS.get(members["alg"]);
  if (algorithm === undefined || !algorithms.includes(algorithm.name)) {
    return fail(`alg must be one of ${algorithms.join(", ")}`);
  }
  const { typ } = members;
  if (typ === undefined ? !kind.typeOptional : !kind.types.some((type) => type === typ)) {
    fail(`typ must be ${kind.types.join(" or ")}`);
  }
  if (members["crit"] !== undefined || members["b64"] !== undefined)
    fail("header must have neither crit nor b64");
  if (decode(signature, "signature", fail).length === 0) fail("signature is empty");
  return { algorithm, header: members, payload: objectIn(payload, "payload", fail), text };
}

/**
 * Verifies the signature of a JWS that was taken apart.
 * @throws AssayError `code` where the key does not fit `alg` or did not make the signature.
 */
export async function verifyCompactJws(
  { algorithm, text }: CompactJws,
  key: KeyObject,
  code: ErrorCode,
): Promise<void> {
  if (!fitsAlgorithm(algorithm, key)) {
    throw new AssayError(code, "alg does not fit the key that should have signed");
  }
  try {
    await compactVerify(text, key, { algorithms: [algorithm.name] });
  } catch {
    throw new AssayError(code, "signature does not verify");
  }
}

/** A signature by the algorithm as JOSE has it (RFC 7518 §3): R ‖ S for ECDSA, MGF1 and a salt as long as the digest for PSS. */
export function signJws({ name, kind }: JwsAlgorithm, input: Uint8Array, key: KeyObject): Uint8Array {
  const digest = `sha${name.slice(2)}`;
  if (kind === "ec") return sign(digest, input, { key, dsaEncoding: "ieee-p1363" });
  if (!name.startsWith("PS")) return sign(digest, input, key);
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } = constants;
  return sign(digest, input, { key, padding, saltLength });
}

/** Whether signatures of the algorithm are made with keys of this kind and curve. */
export function fitsAlgorithm(algorithm: JwsAlgorithm, key: KeyObject): boolean {
  if (key.asymmetricKeyType !== algorithm.kind) return false;
  return algorithm.curve === undefined || key.asymmetricKeyDetails?.namedCurve === algorithm.curve;
}

/** A NumericDate claim, in whole seconds, or `undefined` where it is absent. @throws AssayError `code`. */
export function dateClaim(claims: JsonObject, name: string, code: ErrorCode): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new AssayError(code, `${name} must be whole seconds`);
  }
  return value;
}

function objectIn(part: string, what: string, fail: (detail: string) => never): JsonObject {
  const value = parseJsonObject(decode(part, what, fail));
  return typeof value === "string" ? fail(`${what} ${value}`) : value;
}

function decode(part: string, what: string, fail: (detail: string) => never): Uint8Array {
  const bytes = Buffer.from(part, "base64url");
  // Node's decoder skips what it does not know; only the one canonical spelling comes back the same.
  if (bytes.toString("base64url") !== part) fail(`${what} is not unpadded base64url`);
  return bytes;
}

const MAX_TOKEN_CHARACTERS = 16_384;

const CURVES: Partial<Readonly<Record<SvidAlgorithm, string>>> = {
  ES256: "prime256v1",
  ES384: "secp384r1",
  ES512: "secp521r1",
};

/** The nine algorithms, by name. */
export const JWS_ALGORITHMS: ReadonlyMap<unknown, JwsAlgorithm> = new Map(
  SVID_ALGORITHMS.map((name) => {
    const curve = CURVES[name];
    return [name, curve === undefined ? { name, kind: "rsa" } : { name, kind: "ec", curve }];
  }),
);
