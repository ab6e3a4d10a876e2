import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import {
  type IssuingCa,
  lintSubordinateCaTbs,
  type SubordinateCaFields,
  writeSubordinateCaTbs,
} from "./ca-certificate.ts";
import { createCaRequest } from "./ca-request.ts";
import { readCertificate } from "./certificate-reader.ts";
import { verifyChain } from "./chain.ts";
import { OIDS } from "./der/oid.ts";
import { readCertificationRequest } from "./pkcs10.ts";
import { assembleSigned } from "./signed-der.ts";

const rootKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true });
const key = makeKey();
const issuer: IssuingCa = {
  subject: root.subject,
  subjectKeyId: root.subjectKeyId ?? new Uint8Array(),
  signatureAlgorithm: "ecdsa-sha256",
  notAfter: root.notAfter,
};
const fields: SubordinateCaFields = {
  trustDomain: "example.org",
  spki: key.spki,
  subject: [{ oid: OIDS.organization, value: "SPIFFE" }],
  serial: Uint8Array.of(1, 2, 3),
  notBefore: TEST_NOW - 10,
  notAfter: TEST_NOW + 100,
  pathLength: 2,
  nameConstraints: true,
};

describe("the certificate of a CA below another", () => {
  it("passes its lint, chains, and is read by OpenSSL", () => {
    const tbs = writeSubordinateCaTbs(fields, issuer);
    expect(lintSubordinateCaTbs(tbs, fields, issuer)).toEqual([]);
    const der = assembleSigned(tbs, "ecdsa-sha256", rootKey.sign(tbs));
    const theirs = new X509Certificate(der);
    expect(theirs.ca).toBe(true);
    expect(theirs.subjectAltName).toBe("URI:spiffe://example.org");
    expect(theirs.verify(new X509Certificate(root.der).publicKey)).toBe(true);
    const ours = readCertificate(der);
    expect(ours.basicConstraints).toEqual({ ca: true, pathLength: 2 });
    expect(verifyChain({ leaf: ours, intermediates: [], roots: [root], at: TEST_NOW })).toHaveLength(2);
  });

  it.each([0, 127, 128, 254, 256, 2 ** 31 - 1])("says a path length of %i", (pathLength) => {
    const tbs = writeSubordinateCaTbs({ ...fields, pathLength }, issuer);
    expect(lintSubordinateCaTbs(tbs, { ...fields, pathLength }, issuer)).toEqual([]);
  });

  it.each<[string, Partial<SubordinateCaFields>, string]>([
    ["another trust domain", { trustDomain: "other.org" }, "XS-08"],
    ["another key", { spki: makeKey().spki }, "RFC5280-4.1.2.7"],
    ["no subject", { subject: [] }, "RFC5280-4.1.2.6"],
    ["an end after the authority's", { notAfter: root.notAfter + 1 }, "RFC5280-6.1"],
    ["an end after the one decided on", { notAfter: fields.notAfter + 1 }, "RFC5280-4.1.2.5"],
    ["a beginning after its end", { notBefore: fields.notAfter + 1 }, "RFC5280-4.1.2.5"],
    ["another path length", { pathLength: 3 }, "RFC5280-4.2.1.9"],
    ["no name constraints", { nameConstraints: false }, "XS-15"],
  ])("is refused by its lint with %s", (_, wrong, rule) => {
    const tbs = writeSubordinateCaTbs({ ...fields, ...wrong }, issuer);
    expect(lintSubordinateCaTbs(tbs, fields, issuer).map((finding) => finding.rule)).toContain(rule);
  });

  it.each<[string, Partial<IssuingCa>, string]>([
    [
      "another issuer",
      { subject: makeCertificate({ subject: "x", key, ca: true }).subject },
      "RFC5280-4.1.2.4",
    ],
    ["another authority key identifier", { subjectKeyId: Uint8Array.of(1) }, "RFC5280-4.2.1.1"],
  ])("is refused by its lint with %s", (_, wrong, rule) => {
    const tbs = writeSubordinateCaTbs(fields, { ...issuer, ...wrong });
    expect(lintSubordinateCaTbs(tbs, fields, issuer).map((finding) => finding.rule)).toContain(rule);
  });

  it("is refused where the bytes are no certificate", () => {
    expect(lintSubordinateCaTbs(Uint8Array.of(1), fields, issuer)).toMatchObject([{ rule: "RFC5280-4.1" }]);
  });
});

it("a request for a CA is signed by its key and names the trust domain alone", async () => {
  const csr = await createCaRequest(
    { trustDomain: "example.org", spki: key.spki, subject: fields.subject },
    "ecdsa-sha256",
    async (bytes) => key.sign(bytes),
  );
  expect(readCertificationRequest(csr)).toMatchObject({
    uris: ["spiffe://example.org"],
    dnsNames: [],
    subject: fields.subject,
  });
});
