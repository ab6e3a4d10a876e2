import * as der from "../../src/crypto/der/writer.ts";
import { OIDS } from "../../src/crypto/der/oid.ts";
import { createCertificationRequest } from "../../src/crypto/pkcs10-writer.ts";
import { assembleSigned } from "../../src/crypto/signed-der.ts";
import { writeName } from "../../src/crypto/x501-name.ts";
import { makeExtension, makeKey, type TestKey } from "./certificates.ts";

/** What a signing request asks for beside its key. */
export interface CsrWishes {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
}

/** A good signing request in DER. */
export function makeCsr(wishes: CsrWishes = {}, key: TestKey = makeKey()): Uint8Array {
  return createCertificationRequest({ spki: key.spki, ...wishes }, "ecdsa-sha256", key.sign);
}

/** A signing request, well signed, that asks for everything it must not get. */
export function makeGreedyCsr(uris: readonly string[], key: TestKey): Uint8Array {
  const names = [
    ...uris.map((uri) => der.primitive(0x86, uri)),
    der.primitive(0x82, "admin.example.org"),
    der.primitive(0x87, Uint8Array.of(127, 0, 0, 1)),
    der.primitive(0x81, "root@example.org"),
  ];
  const extensions = [
    makeExtension("2.5.29.19", true, der.sequence(der.trueValue())),
    makeExtension("2.5.29.15", true, der.primitive(0x03, Uint8Array.of(1, 0x06))),
    makeExtension(OIDS.subjectAltName, false, der.sequence(...names)),
    makeExtension("2.5.29.30", true, der.sequence()),
  ];
  const info = der.encode(
    der.sequence(
      der.tinyInteger(0),
      writeName([{ oid: "2.5.4.3", value: "admin" }]),
      key.spki,
      der.constructed(0xa0, [
        der.sequence(der.oid(OIDS.extensionRequest), der.set(der.sequence(...extensions))),
      ]),
    ),
  );
  return assembleSigned(info, "ecdsa-sha256", key.sign(info));
}

/** The request with one octet of its signature changed. */
export function brokenSignature(csr: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(csr);
  copy[copy.length - 3] = (copy[copy.length - 3] ?? 0) ^ 1;
  return copy;
}

/** The request with an octet after its end. */
export function trailingOctet(csr: Uint8Array): Uint8Array {
  return Uint8Array.from([...csr, 0]);
}
