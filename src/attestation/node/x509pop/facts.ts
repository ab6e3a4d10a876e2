import { hash } from "node:crypto";
import type { Certificate } from "../../../crypto/certificate-reader.ts";
import { nameAttribute, readName } from "../../../crypto/x501-name.ts";
import type { Selector } from "../../../spiffe/selector.ts";
import type { TrustDomain } from "../../../spiffe/trust-domain.ts";

/** What a verified leaf certificate says about its node. */
export interface LeafFacts {
  /** Lower-case hex SHA-1 of the certificate: a name that SPIRE chose, nothing rests on its strength. */
  readonly fingerprint: string;
  /** Lower-case hex of the serial number, an even number of digits. */
  readonly serialNumberHex: string;
  /** First common name of the subject, empty where there is none. */
  readonly commonName: string;
  /** Keys and values of the URI names `x509pop://<trust domain>/<key>/<value>`. */
  readonly names: ReadonlyMap<string, string>;
}

/** Reads the facts of a leaf. @throws AssayError `ATTESTATION_FAILED` where its subject is malformed. */
export function leafFacts(leaf: Certificate, trustDomain: TrustDomain): LeafFacts {
  return {
    fingerprint: fingerprintOf(leaf),
    serialNumberHex: Buffer.from(leaf.serial).toString("hex"),
    commonName: nameAttribute(readName(leaf.subject, "ATTESTATION_FAILED"), COMMON_NAME) ?? "",
    names: namesOf(leaf, trustDomain),
  };
}

/** The selectors of a verified path, leaf first. */
export function selectorsOf(facts: LeafFacts, path: readonly Certificate[]): readonly Selector[] {
  const values = [
    ...(facts.commonName === "" ? [] : [`subject:cn:${facts.commonName}`]),
    ...path.slice(1).map((authority) => `ca:fingerprint:${fingerprintOf(authority)}`),
    `serialnumber:${facts.serialNumberHex}`,
    ...[...facts.names].map(([key, value]) => `san:${key}:${value}`),
  ];
  return values.map((value) => ({ type: "x509pop", value }));
}

function namesOf(leaf: Certificate, trustDomain: TrustDomain): ReadonlyMap<string, string> {
  const prefix = `x509pop://${trustDomain}/`;
  const names = new Map<string, string>();
  for (const uri of leaf.subjectAltName?.uris ?? []) {
    if (!uri.startsWith(prefix)) continue;
    const rest = uri.slice(prefix.length);
    const slash = rest.indexOf("/");
    // Escapes, queries and fragments would give one name several spellings; such a name says nothing.
    if (slash < 1 || slash === rest.length - 1 || /[%?#]/.test(rest)) continue;
    names.set(rest.slice(0, slash), rest.slice(slash + 1));
  }
  return names;
}

function fingerprintOf(certificate: Certificate): string {
  return hash("sha1", certificate.der, "hex");
}

const COMMON_NAME = "2.5.4.3";
