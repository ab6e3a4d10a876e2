import { createPublicKey } from "node:crypto";
import { AssayError } from "../errors/assay-error.ts";
import type {
  JwtAuthorityKey,
  SpiffeBundle,
  WitAuthorityKey,
  X509AuthorityCertificate,
} from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { type Certificate, readCertificate } from "./certificate-reader.ts";
import { jwkToSpki, spkiToJwk } from "./jose/jwk.ts";
import { type JsonObject, parseJsonObject } from "./jose/strict-json.ts";
import { readVerificationSpki } from "./spki.ts";

/**
 * Writes a bundle as the JSON document of Trust Domain and Bundle §4: every X.509 authority as a JWK with one
 * certificate (X509-SVID §6.1), every JWT authority as a JWK with `kid` (JWT-SVID §6.1), and so
 * every WIT authority (WIT-SVID §6.1).
 * @throws AssayError `INVALID_BUNDLE` for a key that has no place in such a document.
 */
export function formatBundleDocument(bundle: SpiffeBundle): string {
  const keys = [
    ...bundle.x509Authorities.flatMap(({ certificate }) => x509Entry(certificate)),
    ...bundle.jwtAuthorities.map(({ keyId, publicKey }) => spkiToJwk(publicKey, { keyId, use: JWT_USE })),
    ...bundle.witAuthorities.map(({ keyId, publicKey }) => spkiToJwk(publicKey, { keyId, use: WIT_USE })),
  ];
  // The sequence may exceed what a double holds, so it is written as text: JSON itself has no such bound.
  const head = [
    `"spiffe_sequence": ${bundle.sequence}`,
    ...(bundle.refreshHint > 0 ? [`"spiffe_refresh_hint": ${bundle.refreshHint}`] : []),
  ];
  return `{${head.join(", ")}, "keys": ${JSON.stringify(keys)}}`;
}

/** What becomes of a document one of whose keys is broken. */
export interface BundleReading {
  /**
   * `ignore` leaves the key out and keeps the others (RFC 7517 §5), as a consumer should. `refuse` refuses the document,
   * for an operator who would rather be told.
   */
  readonly broken: "ignore" | "refuse";
}

/**
 * Reads a bundle document that somebody else wrote, at most 4 MiB. Keys of an unknown `use`, `kty` or `crv` are left out
 * (Trust Domain and Bundle §4.2.1, §4.2.2), and so are keys of a known use that are broken, unless told otherwise. An X.509
 * key counts by the first certificate of `x5c`, which must hold that very key; one without is left out (X509-SVID §6.2). A
 * document with no usable key is a bundle that trusts nothing (§4.1.3).
 * @throws AssayError `INVALID_BUNDLE` for a document that is none: no JSON object, `keys` missing, a member named twice.
 */
export function parseBundleDocument(
  trustDomain: TrustDomain,
  bytes: Uint8Array,
  { broken }: BundleReading = { broken: "ignore" },
): SpiffeBundle {
  if (bytes.length > MAX_DOCUMENT) fail(`bundle is larger than ${MAX_DOCUMENT} bytes`);
  const document = parseJsonObject(bytes);
  if (typeof document === "string") return fail(`bundle: ${document}`);
  return readBundle(trustDomain, document, () => sequenceSource(Buffer.from(bytes).toString("utf8")), broken);
}

/**
 * Reads a bundle from JSON that has been parsed, as it stands in a bundle map. `sequenceText` gives the sequence as it is
 * written, which is asked for where a parsed number has lost its last digits (§4.1.1).
 * @throws AssayError `INVALID_BUNDLE`, as {@link parseBundleDocument}.
 */
export function readBundle(
  trustDomain: TrustDomain,
  document: JsonObject,
  sequenceText: () => string | undefined,
  broken: BundleReading["broken"],
): SpiffeBundle {
  const { keys } = document;
  if (!Array.isArray(keys)) return fail("bundle: keys must be an array");
  const x509Authorities: X509AuthorityCertificate[] = [];
  const jwtAuthorities = new Map<string, JwtAuthorityKey>();
  const witAuthorities = new Map<string, WitAuthorityKey>();
  for (const [index, key] of (keys as readonly unknown[]).entries()) {
    const where = `bundle: keys[${index}]`;
    if (!isObject(key)) return fail(`${where} must be an object`);
    if (!isKnownKind(key)) continue;
    try {
      if (key["use"] === X509_USE) {
        const certificate = firstCertificate(key, where);
        if (certificate !== undefined) x509Authorities.push({ certificate, tainted: false });
      } else if (key["use"] === JWT_USE || key["use"] === WIT_USE) {
        const authority = tokenAuthority(key, where);
        const known = key["use"] === JWT_USE ? jwtAuthorities : witAuthorities;
        if (known.has(authority.keyId)) fail(`${where}: kid is repeated`);
        known.set(authority.keyId, authority);
      }
    } catch (error) {
      if (broken === "refuse" || !(error instanceof AssayError)) throw error;
    }
  }
  return {
    trustDomain,
    sequence: sequenceOf(document, sequenceText),
    refreshHint: refreshHintOf(document),
    x509Authorities,
    jwtAuthorities: [...jwtAuthorities.values()],
    witAuthorities: [...witAuthorities.values()],
  };
}

/** One entry, or none for an authority with which nothing can be verified here, whose key no JWK of ours can hold. */
function x509Entry(der: Uint8Array): readonly object[] {
  const { signatureAlgorithm, spki } = readCertificate(der, "INVALID_BUNDLE");
  try {
    return [{ ...spkiToJwk(spki, { use: X509_USE }), x5c: [Buffer.from(der).toString("base64")] }];
  } catch (error) {
    if (signatureAlgorithm.keyKind === "unsupported") return [];
    throw error;
  }
}

function firstCertificate(key: JsonObject, where: string): Uint8Array | undefined {
  const { x5c } = key as { readonly x5c?: unknown };
  if (x5c === undefined || (Array.isArray(x5c) && x5c.length === 0)) return undefined;
  const first: unknown = Array.isArray(x5c) ? x5c[0] : undefined;
  if (typeof first !== "string") return fail(`${where}: x5c must be an array of base64 certificates`);
  const der = Buffer.from(first, "base64");
  if (der.toString("base64") !== first) return fail(`${where}: x5c must be padded base64`);
  let certificate: Certificate;
  try {
    certificate = readCertificate(der, "INVALID_BUNDLE");
  } catch (error) {
    return fail(`${where}: x5c: ${error instanceof AssayError ? error.detail : "no certificate"}`, error);
  }
  if (!holdsKey(certificate, key)) fail(`${where}: x5c holds another key than the members say`);
  return der;
}

/** Whether the members are those of the certificate's key (RFC 7517 §4.7). */
function holdsKey({ spki }: Certificate, key: JsonObject): boolean {
  let own: object;
  try {
    // OpenSSL reads keys that are not DER, and two readers of one certificate could then see two keys.
    readVerificationSpki(spki, "INVALID_BUNDLE");
    own = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }).export({ format: "jwk" });
  } catch {
    return false;
  }
  return Object.entries(own).every(([member, value]) => key[member] === value);
}

function tokenAuthority(key: JsonObject, where: string): JwtAuthorityKey {
  const { kid } = key as { readonly kid?: unknown };
  if (typeof kid !== "string" || kid === "") return fail(`${where}: kid must be a non-empty string`);
  try {
    return { keyId: kid, publicKey: jwkToSpki(key), expiresAt: 0, tainted: false };
  } catch (error) {
    return fail(`${where}: ${error instanceof AssayError ? error.detail : "no key"}`, error);
  }
}

/** Whether the key is of a kind that anything can be verified with here; a key of the future spoils no other. */
function isKnownKind({ kty, crv }: { readonly kty?: unknown; readonly crv?: unknown }): boolean {
  return kty === "RSA" || (kty === "EC" && (typeof crv !== "string" || KNOWN_CURVES.has(crv)));
}

function sequenceOf(document: JsonObject, sequenceText: () => string | undefined): bigint {
  const { spiffe_sequence: sequence } = document as { readonly spiffe_sequence?: unknown };
  if (sequence === undefined) return 0n;
  if (typeof sequence !== "number" || !Number.isInteger(sequence) || sequence < 0) {
    return fail("bundle: spiffe_sequence must be a non-negative integer");
  }
  if (Number.isSafeInteger(sequence)) return BigInt(sequence);
  // Beyond 2^53 a parsed number has lost its last digits, so they are read from the text (§4.1.1).
  const source = sequenceText();
  if (source === undefined || !/^\d{1,20}$/.test(source))
    return fail("bundle: spiffe_sequence must be written as plain digits");
  const digits = BigInt(source);
  // One that agents cannot be told would keep from them everything else that is told in the same message.
  return digits <= MAX_SEQUENCE ? digits : fail("bundle: spiffe_sequence must fit into 64 bits");
}

/**
 * JSON text as a value, and how `spiffe_sequence` of any object in it is written: the same name may stand deeper in a member
 * that nobody defined.
 */
export function withSequenceTexts(text: string): {
  readonly value: unknown;
  readonly sequenceText: (holder: unknown) => string | undefined;
} {
  const sources = new Map<unknown, string>();
  const remember = function (this: unknown, name: string, value: unknown, context?: { source?: string }) {
    if (name === "spiffe_sequence" && context?.source !== undefined) sources.set(this, context.source);
    return value;
  };
  const value: unknown = JSON.parse(text, remember);
  return { value, sequenceText: (holder) => sources.get(holder) };
}

function sequenceSource(text: string): string | undefined {
  const { value, sequenceText } = withSequenceTexts(text);
  return sequenceText(value);
}

function refreshHintOf(document: JsonObject): number {
  const { spiffe_refresh_hint: hint } = document as { readonly spiffe_refresh_hint?: unknown };
  if (hint === undefined) return 0;
  if (typeof hint !== "number" || !Number.isSafeInteger(hint) || hint < 0) {
    return fail("bundle: spiffe_refresh_hint must be a non-negative whole number of seconds");
  }
  return hint;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fail(detail: string, cause?: unknown): never {
  throw new AssayError("INVALID_BUNDLE", detail, { cause });
}

const X509_USE = "x509-svid";
const JWT_USE = "jwt-svid";
const WIT_USE = "wit-svid";
const KNOWN_CURVES: ReadonlySet<string> = new Set(["P-256", "P-384", "P-521"]);
const MAX_SEQUENCE = 2n ** 64n - 1n;
const MAX_DOCUMENT = 4 * 1024 * 1024;
