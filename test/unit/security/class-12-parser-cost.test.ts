import { describe, expect, it } from "vitest";
import { parseBundleDocument } from "../../../src/crypto/bundle-document.ts";
import { parseBundleMap } from "../../../src/crypto/bundle-map.ts";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { readCrl } from "../../../src/crypto/crl.ts";
import * as der from "../../../src/crypto/der/writer.ts";
import { parseJwkSet } from "../../../src/crypto/jose/jwk-set.ts";
import { parseJwtSvidInsecure } from "../../../src/crypto/jose/jwt-svid-verify.ts";
import { parseJsonObject } from "../../../src/crypto/jose/strict-json.ts";
import { parseWitSvidInsecure } from "../../../src/crypto/jose/wit-svid-verify.ts";
import { parseCertificates, parsePemCertificates } from "../../../src/crypto/pem.ts";
import { readCertificationRequest } from "../../../src/crypto/pkcs10.ts";
import { AssayError } from "../../../src/errors/assay-error.ts";
import { parseAudiences } from "../../../src/spiffe/audience.ts";
import { parseSpiffeId } from "../../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { makeFactoryKey } from "../../fakes/svid-factory.ts";
import { makeToken } from "../../fakes/jose-factory.ts";

const DOMAIN = parseTrustDomain("a.example");
const MILLION = 1_000_000;
const dots = ".".repeat(10 * MILLION);
const deep = (depth: number) => `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
const nested = (depth: number) => {
  let bytes: Uint8Array = Uint8Array.of(5, 0);
  for (let n = 0; n < depth; n++) bytes = der.encode(der.sequence(bytes));
  return bytes;
};
const buffer = (text: string) => Buffer.from(text, "latin1");

/** Reads that nobody has been authenticated for. */
const READERS: Readonly<Record<string, (input: Buffer) => unknown>> = {
  "certificate signing requests": (input) => readCertificationRequest(input),
  certificates: (input) => readCertificate(input),
  "revocation lists": (input) => readCrl(input, "INVALID_CRL"),
  "lists of certificates": (input) => parseCertificates(input),
  "PEM texts": (input) => parsePemCertificates(input.toString("latin1")),
  "JWT-SVIDs": (input) => parseJwtSvidInsecure(input.toString("latin1")),
  "WIT-SVIDs": (input) => parseWitSvidInsecure(input.toString("latin1")),
  "SPIFFE bundles": (input) => parseBundleDocument(DOMAIN, input),
  "bundle maps": (input) => parseBundleMap(input),
  "JWK sets": (input) => parseJwkSet(input, "jwt-svid"),
  "SPIFFE IDs": (input) => parseSpiffeId(input.toString("latin1")),
};

const INPUTS: Readonly<Record<string, () => Buffer>> = {
  "ten million dots": () => buffer(dots),
  "ten million opening brackets": () => buffer("[".repeat(10 * MILLION)),
  "ten million octets of DER headers": () => Buffer.alloc(10 * MILLION, Buffer.of(0x30, 0x80)),
  "DER of ten thousand levels": () => Buffer.from(nested(10_000)),
  "JSON of a hundred thousand levels": () => buffer(deep(100_000)),
  "a hundred thousand PEM headers": () => buffer("-----BEGIN CERTIFICATE-----\n".repeat(100_000)),
  "a million octets of nothing": () => Buffer.alloc(MILLION),
};

describe.each(Object.entries(READERS))("reading %s", (_, read) => {
  // That it comes back at all is what is shown; an input which took more than linear time would not, here.
  it.each(Object.entries(INPUTS))("refuses %s in an orderly way", (_name, make) => {
    const input = make();
    let thrown: unknown;
    try {
      read(input);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(AssayError);
    // An error goes to logs and callers: it must not carry the input along.
    expect((thrown as AssayError).detail.length).toBeLessThan(500);
  });
});

describe("documents that are well formed and too much", () => {
  const strong = makeFactoryKey();
  const token = (payload: object, header: object = {}) =>
    makeToken({ key: strong, header: { alg: "ES256", kid: "k", ...header }, payload });
  const claims = { sub: "spiffe://a.example/w", aud: ["a"], exp: 4_000_000_000 };

  it("JSON of more than 64 levels is refused, since whoever walks it would run out of stack", () => {
    expect(parseJsonObject(buffer(deep(63)))).toBeTypeOf("object");
    expect(parseJsonObject(buffer(deep(64)))).toBe("is nested too deeply");
    expect(parseJsonObject(buffer(deep(1_000_000)))).toBe("is nested too deeply");
  });

  it("a token of more than its bound is refused before it is decoded", () => {
    const large = token({ ...claims, filler: "x".repeat(MILLION) });
    expect(() => parseJwtSvidInsecure(large)).toThrowCode("INVALID_JWT_SVID");
    expect(() => parseWitSvidInsecure(large)).toThrowCode("INVALID_WIT_SVID");
  });

  it("a key id or an audience list of any length costs no more than the token's bound", () => {
    const aud = Array.from({ length: 20_000 }, (_, n) => `audience-${n}`);
    expect(() => parseJwtSvidInsecure(token({ ...claims, aud }))).toThrowCode("INVALID_JWT_SVID");
    expect(() => parseAudiences(aud)).toThrowCode("INVALID_AUDIENCE");
  });

  it("a JWK with a modulus of 16 kbit is left out of a set, unread", () => {
    const n = Buffer.alloc(2048, 0xff).toString("base64url");
    const keys = [{ kty: "RSA", kid: "huge", n, e: "AQAB" }];
    expect(parseJwkSet(buffer(JSON.stringify({ keys })), "jwt-svid").size).toBe(0);
  });

  it("a CSR over a 16 kbit key is refused before its signature is checked", () => {
    const modulus = der.unsignedInteger(Buffer.alloc(2048, 0xff));
    const key = der.encode(der.sequence(modulus, der.unsignedInteger(Uint8Array.of(1, 0, 1))));
    const spki = der.sequence(
      der.sequence(der.oid("1.2.840.113549.1.1.1"), der.nullValue()),
      der.bitString(key),
    );
    const info = der.sequence(
      der.tinyInteger(0),
      der.sequence(),
      spki,
      der.primitive(0xa0, new Uint8Array()),
    );
    const algorithm = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.nullValue());
    const csr = der.encode(der.sequence(info, algorithm, der.bitString(Buffer.alloc(2048))));
    expect(() => readCertificationRequest(csr)).toThrowCode("INVALID_CSR");
  });

  it("ten thousand names in a certificate are refused", () => {
    const names = Array.from({ length: 10_000 }, (_, n) => der.primitive(0x82, `n${n}.example`));
    const extension = der.sequence(der.oid("2.5.29.17"), der.octetsOf(der.sequence(...names)));
    const list = der.encode(der.sequence(extension));
    expect(() => readCertificate(list)).toThrowCode("INVALID_CERTIFICATE");
  });

  it("a bundle of a hundred thousand empty keys is read in one pass", () => {
    const keys = Array.from({ length: 100_000 }, () => ({}));
    const read = parseBundleDocument(DOMAIN, buffer(JSON.stringify({ keys })));
    expect(read.x509Authorities).toEqual([]);
  });
});
