import { createPrivateKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { readCertificate, type Certificate } from "../../src/crypto/certificate-reader.ts";
import * as der from "../../src/crypto/der/writer.ts";
import { generateEcKeyPair, type KeyPair, subjectKeyIdentifier } from "../../src/crypto/keys.ts";
import { assembleSigned, signatureAlgorithmIdentifier } from "../../src/crypto/signed-der.ts";
import { writeName } from "../../src/crypto/x501-name.ts";

/** A key pair of a test, with the private half ready to sign. */
export interface TestKey extends KeyPair {
  readonly privateKey: KeyObject;
  /** ECDSA with SHA-256 (SHA-384 on P-384), as DER. */
  readonly sign: (bytes: Uint8Array) => Uint8Array;
}

/** What a certificate of a test says; everything left out is as a good certificate has it. */
export interface TestCertificate {
  readonly subject: string;
  readonly key: TestKey;
  /** Who signs; self-signed unless given. */
  readonly issuer?: { readonly certificate: Certificate; readonly key: TestKey };
  readonly ca?: boolean;
  readonly pathLength?: number;
  /** Content of the keyUsage BIT STRING: unused bits, then octets. `null` leaves the extension out. */
  readonly keyUsage?: readonly number[] | null;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly purposes?: readonly string[];
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly keyIdentifiers?: boolean;
  /** Further extensions, whole. */
  readonly extensions?: readonly der.Der[];
}

/** The second at which certificates of {@link makeCertificate} are valid. */
export const TEST_NOW = 1_790_000_000;

/** A fresh EC key. */
export function makeKey(curve: "ec-p256" | "ec-p384" = "ec-p256"): TestKey {
  const pair = generateEcKeyPair(curve);
  const privateKey = createPrivateKey({ key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" });
  const digest = curve === "ec-p256" ? "sha256" : "sha384";
  return { ...pair, privateKey, sign: (bytes) => sign(digest, bytes, privateKey) };
}

/** A certificate signed with a P-256 key, good or bad as asked. */
export function makeCertificate(wanted: TestCertificate): Certificate {
  const { ca = false, key, issuer } = wanted;
  const subject = writeName([{ oid: "2.5.4.3", value: wanted.subject }]);
  const extensions: der.Der[] = [
    makeExtension("2.5.29.19", true, der.sequence(...(ca ? [der.trueValue(), ...pathLength(wanted)] : []))),
    ...(wanted.extensions ?? []),
  ];
  if (wanted.keyUsage !== null) {
    const bits = wanted.keyUsage ?? (ca ? [1, 0x06] : [7, 0x80]);
    extensions.push(makeExtension("2.5.29.15", true, der.primitive(0x03, Uint8Array.from(bits))));
  }
  if (wanted.keyIdentifiers !== false) {
    extensions.push(makeExtension("2.5.29.14", false, der.octetString(subjectKeyIdentifier(key.spki))));
    const issuerKeyId = subjectKeyIdentifier(issuer?.key.spki ?? key.spki);
    extensions.push(makeExtension("2.5.29.35", false, der.sequence(der.primitive(0x80, issuerKeyId))));
  }
  if (wanted.purposes !== undefined) {
    extensions.push(makeExtension("2.5.29.37", false, der.sequence(...wanted.purposes.map(der.oid))));
  }
  const names = [
    ...(wanted.uris ?? []).map((uri) => der.primitive(0x86, uri)),
    ...(wanted.dnsNames ?? []).map((name) => der.primitive(0x82, name)),
  ];
  if (names.length > 0) extensions.push(makeExtension("2.5.29.17", false, der.sequence(...names)));
  const tbs = der.encode(
    der.sequence(
      der.explicit(0, der.tinyInteger(2)),
      der.unsignedInteger(randomBytes(16)),
      signatureAlgorithmIdentifier("ecdsa-sha256"),
      issuer?.certificate.subject ?? subject,
      der.sequence(der.time(wanted.notBefore ?? TEST_NOW - 60), der.time(wanted.notAfter ?? TEST_NOW + 3600)),
      subject,
      key.spki,
      der.explicit(3, der.sequence(...extensions)),
    ),
  );
  return readCertificate(assembleSigned(tbs, "ecdsa-sha256", (issuer?.key ?? key).sign(tbs)));
}

/** One extension. */
export function makeExtension(oid: string, critical: boolean, value: der.Der): der.Der {
  return der.sequence(der.oid(oid), ...(critical ? [der.trueValue()] : []), der.octetsOf(value));
}

function pathLength({ pathLength: length }: TestCertificate): readonly der.Der[] {
  return length === undefined ? [] : [der.tinyInteger(length)];
}
