import { verify } from "node:crypto";
import { AssayError } from "../errors/assay-error.ts";
import { OIDS } from "./der/oid.ts";
import { contextConstructed, type DerReader, OCTET_STRING, openDer, SEQUENCE, SET } from "./der/reader.ts";
import { asBuffer, unusableKey } from "./keys.ts";
import { readSignatureAlgorithm } from "./signature-algorithm.ts";
import { type KeyType, readSpki } from "./spki.ts";
import { readSubjectAltName, type SubjectAltName } from "./subject-alt-name.ts";
import { type DistinguishedName, readName } from "./x501-name.ts";

/** A certificate signing request whose signature was made with the key that it asks to be certified. */
export interface CertificationRequest {
  /** The public key as SubjectPublicKeyInfo; the very bytes the signature covers. */
  readonly spki: Uint8Array;
  readonly keyType: KeyType;
  /** The subject's attributes; often empty. Minting by entry ignores it. */
  readonly subject: DistinguishedName;
  /** URI names asked for in the extension request. Minting by entry ignores them. */
  readonly uris: readonly string[];
  /** DNS names asked for in the extension request. Minting by entry ignores them. */
  readonly dnsNames: readonly string[];
}

/**
 * Reads a PKCS#10 request (RFC 2986) of at most 16 KiB and verifies its signature (proof of possession).
 *
 * Strict: DER throughout, version 1, a key as {@link readSpki} allows, a signature algorithm of that key's kind, at
 * most one extension request, nothing after the end. The bytes returned are the bytes verified.
 * @throws AssayError `INVALID_CSR` naming the field or the kind of key.
 */
export function readCertificationRequest(der: Uint8Array): CertificationRequest {
  const outer = openDer(der, "INVALID_CSR", MAX_CSR_BYTES, "CSR");
  const request = outer.enter(SEQUENCE, "CSR");
  outer.done("CSR");
  const info = request.element(SEQUENCE, "CSR info");
  const { spki, subject, names } = readInfo(info);
  // Before the signature algorithm, so that the answer names the kind of key that is not supported.
  const { keyType } = readSpki(spki, "INVALID_CSR");
  const algorithm = readSignatureAlgorithm(request, "CSR signature algorithm");
  const signature = request.bitString("CSR signature");
  request.done("CSR");
  if ((keyType === "rsa") !== (algorithm.keyKind === "rsa")) {
    throw new AssayError(
      "INVALID_CSR",
      `CSR signature algorithm ${algorithm.oid} does not fit the ${keyType} key`,
    );
  }
  if (!isSignedBy(spki, algorithm.digest, info, signature)) {
    throw new AssayError("INVALID_CSR", "CSR signature does not verify with the key in it");
  }
  return {
    spki,
    keyType,
    subject: readName(subject, "INVALID_CSR"),
    uris: names?.uris ?? [],
    dnsNames: names?.dnsNames ?? [],
  };
}

/** The key is used once: verifying with its bytes spares an object that the garbage collector would have to follow. */
function isSignedBy(spki: Uint8Array, digest: string, info: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify(digest, info, { key: asBuffer(spki), format: "der", type: "spki" }, signature);
  } catch (cause) {
    throw unusableKey("INVALID_CSR", cause);
  }
}

interface RequestInfo {
  readonly spki: Uint8Array;
  readonly subject: Uint8Array;
  readonly names: SubjectAltName | undefined;
}

function readInfo(bytes: Uint8Array): RequestInfo {
  const info = openDer(bytes, "INVALID_CSR", MAX_CSR_BYTES, "CSR info").enter(SEQUENCE, "CSR info");
  if (info.smallInteger("CSR version") !== 0) info.fail("CSR version must be 1");
  const subject = info.element(SEQUENCE, "CSR subject");
  const spki = info.element(SEQUENCE, "public key");
  // RFC 2986 wants the attributes even when there are none; some tools leave them out, which is harmless.
  const names = info.more() ? readAttributes(info.enter(contextConstructed(0), "CSR attributes")) : undefined;
  info.done("CSR info");
  return { spki, subject, names };
}

function readAttributes(attributes: DerReader): SubjectAltName | undefined {
  let names: SubjectAltName | undefined;
  let requested = false;
  for (let count = 1; attributes.more(); count++) {
    if (count > MAX_ATTRIBUTES) attributes.fail(`CSR has more than ${MAX_ATTRIBUTES} attributes`);
    const attribute = attributes.enter(SEQUENCE, "CSR attribute");
    if (attribute.oid("CSR attribute type") !== OIDS.extensionRequest) {
      attribute.anyElement("CSR attribute values");
      attribute.done("CSR attribute");
      continue;
    }
    if (requested) attributes.fail("CSR has more than one extension request");
    requested = true;
    const values = attribute.enter(SET, "extension request");
    attribute.done("CSR attribute");
    names = readExtensions(values.enter(SEQUENCE, "extension request"));
    values.done("extension request");
  }
  return names;
}

function readExtensions(extensions: DerReader): SubjectAltName | undefined {
  let names: SubjectAltName | undefined;
  const seen = new Set<string>();
  while (extensions.more()) {
    const extension = extensions.enter(SEQUENCE, "requested extension");
    const oid = extension.oid("requested extension");
    if (seen.has(oid)) extension.fail(`requested extension ${oid} appears twice`);
    if (seen.add(oid).size > MAX_EXTENSIONS)
      extension.fail(`CSR asks for more than ${MAX_EXTENSIONS} extensions`);
    if (extension.is(BOOLEAN) && !extension.boolean("critical")) {
      extension.fail("critical must be left out where it is false");
    }
    const value = extension.content(OCTET_STRING, `value of extension ${oid}`);
    extension.done("requested extension");
    if (oid !== OIDS.subjectAltName) continue;
    const reader = openDer(value, "INVALID_CSR", MAX_CSR_BYTES, "subjectAltName");
    names = readSubjectAltName(reader);
    reader.done("subjectAltName");
  }
  return names;
}

const BOOLEAN = 0x01;
const MAX_CSR_BYTES = 16_384;
const MAX_ATTRIBUTES = 16;
const MAX_EXTENSIONS = 32;
