import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { OIDS } from "../../src/crypto/der/oid.ts";
import * as der from "../../src/crypto/der/writer.ts";
import { writeName } from "../../src/crypto/x501-name.ts";

/** Kinds of key that a test may want, those that nobody should use among them. */
export type FactoryKeyKind =
  | "ec-p256"
  | "ec-p384"
  | "ec-p521"
  | "rsa-1024"
  | "rsa-2048"
  | "rsa-4096"
  | "ed25519";

/** A key pair. */
export interface FactoryKey {
  readonly kind: FactoryKeyKind;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/** A certificate with what is needed to sign others with it. */
export interface FactoryCertificate {
  readonly der: Buffer;
  readonly key: FactoryKey;
  /** DER Name. */
  readonly subject: Uint8Array;
}

/** What a certificate says. Whatever is left out is as a good certificate of its kind has it; `null` leaves a part out. */
export interface CertificateSpec {
  /** Who signs; self-signed unless given. */
  readonly issuer?: FactoryCertificate;
  /** A fresh P-256 key unless given. */
  readonly key?: FactoryKey;
  /** Common name; `null` for the empty Name. */
  readonly subject?: string | null;
  /** Another issuer's name than that of who signs. */
  readonly issuerName?: string;
  /** Signs in the place of the issuer's key. */
  readonly signer?: FactoryKey;
  /** Unix seconds, or seconds from now below a million. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** Whether it is a CA's; `null` leaves basicConstraints out. */
  readonly ca?: boolean | null;
  readonly pathLength?: number;
  /** Names of bits; `null` leaves keyUsage out. */
  readonly keyUsage?: readonly (keyof typeof KEY_USAGE_BITS)[] | null;
  readonly keyUsageCritical?: boolean;
  /** Dotted purposes; `null` leaves extKeyUsage out. A CA has none unless given. */
  readonly purposes?: readonly string[] | null;
  /** URI names; none leaves subjectAltName out unless it has others. */
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly sanCritical?: boolean;
  /** URIs that all SPIFFE IDs below must have as their host (RFC 5280 §4.2.1.10). */
  readonly permittedUriHosts?: readonly string[];
  /** Further extensions, whole. */
  readonly extensions?: readonly der.Der[];
  /** What takes the place of an extension, by its dotted number. */
  readonly replace?: Readonly<Record<string, der.Der>>;
  /** Bytes of the serial number. */
  readonly serial?: Uint8Array;
  /** Written in the place of the signature algorithm that fits the key. */
  readonly signatureAlgorithm?: Uint8Array;
}

/** A fresh key; of the slow kinds one is made for each `label` and used again. */
export function makeFactoryKey(kind: FactoryKeyKind = "ec-p256", label = ""): FactoryKey {
  const name = `${kind} ${label}`;
  const known = slowKeys.get(name);
  if (known !== undefined) return known;
  const { privateKey, publicKey } = generate(kind);
  const key = { kind, privateKey, publicKey, spki: publicKey.export({ format: "der", type: "spki" }) };
  if (kind.startsWith("rsa")) slowKeys.set(name, key);
  return key;
}

/** The self-signed certificate of a trust domain's authority, good unless told otherwise. */
export function makeAuthority(trustDomain: string, spec: CertificateSpec = {}): FactoryCertificate {
  return makeCertificate({
    subject: `authority of ${trustDomain}`,
    ca: true,
    uris: [`spiffe://${trustDomain}`],
    ...spec,
  });
}

/** A leaf for a SPIFFE ID, good unless told otherwise. */
export function makeLeaf(
  spiffeId: string,
  issuer: FactoryCertificate,
  spec: CertificateSpec = {},
): FactoryCertificate {
  return makeCertificate({ issuer, uris: [spiffeId], ...spec });
}

/** Any certificate. */
export function makeCertificate(spec: CertificateSpec): FactoryCertificate {
  const key = spec.key ?? makeFactoryKey();
  const subject = spec.subject === null ? writeName([]) : nameOf(spec.subject ?? "workload");
  const signer = spec.signer ?? spec.issuer?.key ?? key;
  const algorithm = spec.signatureAlgorithm ?? algorithmOf(signer.kind);
  const tbs = der.encode(
    der.sequence(
      der.explicit(0, der.tinyInteger(2)),
      der.unsignedInteger(spec.serial ?? Buffer.concat([Uint8Array.of(1), randomBytes(15)])),
      algorithm,
      spec.issuerName === undefined ? (spec.issuer?.subject ?? subject) : nameOf(spec.issuerName),
      der.sequence(der.time(momentOf(spec.notBefore ?? -60)), der.time(momentOf(spec.notAfter ?? 3600))),
      subject,
      key.spki,
      der.explicit(3, der.sequence(...extensionsOf(spec, key))),
    ),
  );
  const certificate = der.encode(der.sequence(tbs, algorithm, der.bitString(signBytes(tbs, signer))));
  return { der: Buffer.from(certificate), key, subject };
}

/** One extension. */
export function makeExtension(oid: string, critical: boolean, value: der.Der): der.DerNode {
  return der.sequence(der.oid(oid), ...(critical ? [der.trueValue()] : []), der.octetsOf(value));
}

/** The certificate with one bit turned over, at this share of its length from the start. */
export function withFlippedBit(
  { der: bytes, ...rest }: FactoryCertificate,
  share: number,
): FactoryCertificate {
  const flipped = Buffer.from(bytes);
  const at = Math.floor(share * (flipped.length - 1));
  flipped[at] = (flipped[at] ?? 0) ^ 1;
  return { ...rest, der: flipped };
}

/** The certificate with its outermost length written in more octets than it needs, which BER allows and DER does not. */
export function withLongLength({ der: bytes, ...rest }: FactoryCertificate): FactoryCertificate {
  const content = bytes.subarray(4);
  return {
    ...rest,
    der: Buffer.concat([Uint8Array.of(0x30, 0x83, 0, content.length >> 8, content.length & 0xff), content]),
  };
}

function extensionsOf(spec: CertificateSpec, key: FactoryKey): readonly der.Der[] {
  const ca = spec.ca ?? false;
  const found: [string, der.Der][] = [];
  const add = (oid: string, critical: boolean, value: der.Der) =>
    found.push([oid, makeExtension(oid, critical, value)]);
  if (spec.ca !== null) {
    const length = spec.pathLength === undefined ? [] : [der.tinyInteger(spec.pathLength)];
    add(OIDS.basicConstraints, true, der.sequence(...(ca ? [der.trueValue()] : []), ...length));
  }
  if (spec.keyUsage !== null) {
    const usage = spec.keyUsage ?? (ca ? CA_USAGE : LEAF_USAGE);
    add(OIDS.keyUsage, spec.keyUsageCritical ?? true, namedBits(usage.map((name) => KEY_USAGE_BITS[name])));
  }
  const purposes =
    spec.purposes === undefined && !ca ? [OIDS.serverAuth, OIDS.clientAuth] : (spec.purposes ?? []);
  if (purposes.length > 0) add(OIDS.extKeyUsage, false, der.sequence(...purposes.map(der.oid)));
  add(OIDS.subjectKeyIdentifier, false, der.octetString(keyIdentifier(key)));
  if (spec.issuer !== undefined) {
    const issuerId = der.primitive(0x80, keyIdentifier(spec.issuer.key));
    add(OIDS.authorityKeyIdentifier, false, der.sequence(issuerId));
  }
  const names = [
    ...(spec.uris ?? []).map((uri) => der.primitive(0x86, uri)),
    ...(spec.dnsNames ?? []).map((name) => der.primitive(0x82, name)),
  ];
  if (names.length > 0) {
    add(OIDS.subjectAltName, spec.sanCritical ?? spec.subject === null, der.sequence(...names));
  }
  if (spec.permittedUriHosts !== undefined) {
    const subtrees = spec.permittedUriHosts.map((host) => der.sequence(der.primitive(0x86, host)));
    add(NAME_CONSTRAINTS, true, der.sequence(der.explicit(0, ...subtrees)));
  }
  return [...found.map(([oid, extension]) => spec.replace?.[oid] ?? extension), ...(spec.extensions ?? [])];
}

/** A BIT STRING without trailing zero bits, as DER has named bits. */
function namedBits(bits: readonly number[]): der.DerNode {
  const octets = new Uint8Array(Math.max(...bits, -1) >> 3 < 0 ? 0 : (Math.max(...bits) >> 3) + 1);
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  const unused = bits.length === 0 ? 0 : 7 - (Math.max(...bits) & 7);
  return der.primitive(0x03, Uint8Array.of(unused, ...octets));
}

function keyIdentifier(key: FactoryKey): Uint8Array {
  return createHash("sha1").update(key.spki).digest();
}

function nameOf(commonName: string): Uint8Array {
  return writeName([{ oid: OIDS.commonName, value: commonName }]);
}

function momentOf(seconds: number): number {
  return Math.abs(seconds) < 1e9 ? Math.floor(Date.now() / 1000) + seconds : seconds;
}

function generate(kind: FactoryKeyKind): { privateKey: KeyObject; publicKey: KeyObject } {
  switch (kind) {
    case "ec-p256":
    case "ec-p384":
    case "ec-p521":
      return generateKeyPairSync("ec", { namedCurve: kind.slice(3).replace("p", "P-") });
    case "rsa-1024":
    case "rsa-2048":
    case "rsa-4096":
      return generateKeyPairSync("rsa", { modulusLength: Number(kind.slice(4)) });
    case "ed25519":
      return generateKeyPairSync("ed25519");
    default:
      throw new Error(`no such kind of key: ${String(kind)}`);
  }
}

function signBytes(bytes: Uint8Array, { kind, privateKey }: FactoryKey): Buffer {
  return sign(DIGESTS[kind] ?? null, bytes, privateKey);
}

function algorithmOf(kind: FactoryKeyKind): Uint8Array {
  const oid = SIGNATURES[kind];
  const parameters = kind.startsWith("rsa") ? [der.nullValue()] : [];
  return der.encode(der.sequence(der.oid(oid), ...parameters));
}

const slowKeys = new Map<string, FactoryKey>();
const NAME_CONSTRAINTS = "2.5.29.30";
const KEY_USAGE_BITS = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  dataEncipherment: 3,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;
const CA_USAGE = ["keyCertSign", "cRLSign"] as const;
const LEAF_USAGE = ["digitalSignature", "keyEncipherment", "keyAgreement"] as const;
const DIGESTS: Readonly<Record<FactoryKeyKind, string | undefined>> = {
  "ec-p256": "sha256",
  "ec-p384": "sha384",
  "ec-p521": "sha512",
  "rsa-1024": "sha256",
  "rsa-2048": "sha256",
  "rsa-4096": "sha256",
  ed25519: undefined,
};
const SIGNATURES: Readonly<Record<FactoryKeyKind, string>> = {
  "ec-p256": OIDS.ecdsaWithSha256,
  "ec-p384": OIDS.ecdsaWithSha384,
  "ec-p521": OIDS.ecdsaWithSha512,
  "rsa-1024": OIDS.sha256WithRsaEncryption,
  "rsa-2048": OIDS.sha256WithRsaEncryption,
  "rsa-4096": OIDS.sha256WithRsaEncryption,
  ed25519: OIDS.ed25519,
};
