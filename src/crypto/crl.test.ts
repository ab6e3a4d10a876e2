import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCertificate, makeExtension, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import { makeCrl, type TestCrl } from "../../test/fakes/crl.ts";
import { AssayError } from "../errors/assay-error.ts";
import { readCertificate } from "./certificate-reader.ts";
import { isCrlOf, readCrl } from "./crl.ts";
import * as der from "./der/writer.ts";

const key = makeKey();
const authority = makeCertificate({ subject: "authority", key, ca: true });
const issuer = { certificate: authority, key };
const good = makeCrl({ issuer, revoked: [Uint8Array.of(0x0a, 0xff)], number: 7 });

describe("readCrl (RFC 5280 §5)", () => {
  it("reads who signed, since when, until when, which number, and which certificates", () => {
    const crl = readCrl(good, "INVALID_CRL");
    expect(crl).toMatchObject({ number: 7n, thisUpdate: TEST_NOW - 60, nextUpdate: TEST_NOW + 3600 });
    expect([...crl.revoked]).toEqual(["0aff"]);
    expect(isCrlOf(crl, authority)).toBe(true);
  });

  it("reads what another library writes", async () => {
    x509.cryptoProvider.set(webcrypto);
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const ca = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=other",
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const written = await x509.X509CrlGenerator.create({
      issuer: "CN=other",
      thisUpdate: new Date(TEST_NOW * 1000),
      nextUpdate: new Date((TEST_NOW + 60) * 1000),
      signingAlgorithm: algorithm,
      signingKey: keys.privateKey,
      entries: [{ serialNumber: "0123", revocationDate: new Date(TEST_NOW * 1000), reason: 1 }],
      extensions: [
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        new x509.Extension("2.5.29.20", false, Uint8Array.of(2, 1, 9)),
      ],
    });
    const crl = readCrl(new Uint8Array(written.rawData), "INVALID_CRL");
    expect(crl).toMatchObject({ number: 9n, nextUpdate: TEST_NOW + 60 });
    expect([...crl.revoked]).toEqual(["0123"]);
    expect(isCrlOf(crl, readCertificate(new Uint8Array(ca.rawData)))).toBe(true);
  });

  const critical = makeExtension("2.5.29.27", true, der.tinyInteger(1));
  it.each<[string, Partial<TestCrl>, RegExp]>([
    ["of version 1", { version: 0 }, /version/],
    ["without nextUpdate", { nextUpdate: null }, /nextUpdate/],
    ["without a number", { number: null }, /cRLNumber/],
    ["without the authority's key identifier", { keyIdentifier: false }, /authorityKeyIdentifier/],
    ["with an empty list", { revoked: [] }, /must not be empty/],
    ["that is a delta", { extensions: [critical] }, /critical extension 2\.5\.29\.27/],
    [
      "with a critical extension of an entry",
      { revoked: [Uint8Array.of(1)], entryExtensions: [makeExtension("2.5.29.29", true, der.sequence())] },
      /critical extension 2\.5\.29\.29/,
    ],
  ])("refuses a list %s", (_, change, detail) => {
    expect(() => readCrl(makeCrl({ issuer, ...change }), "INVALID_CRL")).toThrowCode("INVALID_CRL", detail);
  });

  it("refuses more than 1 MiB before it looks inside", () => {
    const large = new Uint8Array(1024 * 1024 + 1);
    expect(() => readCrl(large, "INVALID_CRL")).toThrowCode("INVALID_CRL", /at most 1048576 bytes/);
  });

  it("answers whatever is sent with a list or INVALID_CRL", () => {
    const mutated = fc
      .tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(good.length))
      .map(([at, octet, end]) => {
        const copy = Uint8Array.from(good);
        copy[at] = octet;
        return copy.subarray(0, end);
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        try {
          readCrl(bytes, "INVALID_CRL");
        } catch (error) {
          if (!(error instanceof AssayError) || error.code !== "INVALID_CRL") throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("isCrlOf (RFC 5280 §6.3.3)", () => {
  const crl = readCrl(good, "INVALID_CRL");

  it.each([
    ["another name", makeCertificate({ subject: "other", key, ca: true })],
    ["another key", makeCertificate({ subject: "authority", key: makeKey(), ca: true })],
    ["no right to sign CRLs", makeCertificate({ subject: "authority", key, ca: true, keyUsage: [2, 0x04] })],
  ])("is false for an authority with %s", (_, other) => {
    expect(isCrlOf(crl, other)).toBe(false);
  });

  it("is false where a signed byte was changed", () => {
    const changed = Uint8Array.from(good);
    const at = Buffer.from(good).indexOf(Buffer.of(0x0a, 0xff));
    changed[at] = 0x0b;
    expect(isCrlOf(readCrl(changed, "INVALID_CRL"), authority)).toBe(false);
  });
});
