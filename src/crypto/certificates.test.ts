import "reflect-metadata/lite";
import { execFileSync, spawnSync } from "node:child_process";
import { createPrivateKey, randomBytes, sign, X509Certificate as NodeCertificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as peculiar from "@peculiar/x509";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCertificate, makeExtension, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import { readCertificate } from "./certificate-reader.ts";
import * as der from "./der/writer.ts";
import { generateRsaKeyPair, subjectKeyIdentifier } from "./keys.ts";
import { parseCertificates, parsePemCertificates, toPem } from "./pem.ts";
import { randomSerial, serialToDecimal, serialToHex } from "./random.ts";
import type { SigningAlgorithm } from "./signature-algorithm.ts";
import { lintX509AuthorityCertificate } from "./x509-authority-lint.ts";
import { createX509AuthorityCertificate } from "./x509-authority.ts";
import { type ExpectedX509Svid, lintX509SvidTbs } from "./x509-svid-lint.ts";
import { createX509SvidTemplate, type X509SvidFields } from "./x509-svid-template.ts";
import { parseX509Svid } from "./x509-svid.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const authorityKey = makeKey();
const workloadKey = makeKey();

const makeAuthority = async (
  spki = authorityKey.spki,
  signatureAlgorithm: SigningAlgorithm = "ecdsa-sha256",
  signer = authorityKey.sign,
) =>
  readCertificate(
    await createX509AuthorityCertificate(
      {
        trustDomain: "example.org",
        spki,
        serial: randomSerial(randomBytes),
        notBefore: TEST_NOW - 10,
        notAfter: TEST_NOW + 86_400,
        signatureAlgorithm,
      },
      signer,
    ),
  );
const authority = await makeAuthority();
const template = createX509SvidTemplate({
  issuer: authority.subject,
  authorityKeyId: authority.subjectKeyId as Uint8Array,
  signatureAlgorithm: "ecdsa-sha256",
});
const fields: X509SvidFields = {
  spki: workloadKey.spki,
  subjectKeyId: subjectKeyIdentifier(workloadKey.spki),
  spiffeId: "spiffe://example.org/workload",
  dnsNames: ["a.example", "b.example"],
  serial: Uint8Array.of(0, 0, 0x81, 5),
  notBefore: TEST_NOW - 10,
  notAfter: TEST_NOW + 3600,
};
const expected: ExpectedX509Svid = {
  spiffeId: fields.spiffeId,
  spki: fields.spki,
  dnsNames: fields.dnsNames,
  issuer: authority.subject,
  authorityKeyId: authority.subjectKeyId as Uint8Array,
  signatureAlgorithm: "ecdsa-sha256",
  authorityNotAfter: authority.notAfter,
  notAfter: fields.notAfter,
  serial: fields.serial,
};
const mint = (wanted: X509SvidFields): Uint8Array => {
  const tbs = template.build(wanted);
  return template.assemble(tbs, authorityKey.sign(tbs));
};
const rules = (wanted: Partial<X509SvidFields>, want: Partial<ExpectedX509Svid> = {}) =>
  lintX509SvidTbs(template.build({ ...fields, ...wanted }), { ...expected, ...want }).map(({ rule }) => rule);

describe("X509-SVID template", () => {
  it("makes certificates on which @peculiar/x509, node:crypto and our reader agree", () => {
    const label = fc.stringMatching(/^[a-z0-9]{1,20}$/);
    fc.assert(
      fc.property(
        fc.record({
          path: fc.array(fc.stringMatching(/^[A-Za-z0-9_-]{1,30}$/), { minLength: 1, maxLength: 8 }),
          dnsNames: fc.array(label, { maxLength: 5 }),
          serial: fc
            .uint8Array({ minLength: 16, maxLength: 16 })
            .filter((serial) => serial.some((o) => o !== 0)),
          notBefore: fc.integer({ min: 0, max: 4_000_000_000 }),
          seconds: fc.integer({ min: 1, max: 4_000_000_000 }),
          organization: fc.string({ minLength: 1, maxLength: 30, unit: "grapheme" }),
        }),
        ({ path, dnsNames, serial, notBefore, seconds, organization }) => {
          const spiffeId = `spiffe://example.org/${path.join("/")}`;
          const notAfter = notBefore + seconds;
          const subject = [{ oid: "2.5.4.10", value: organization }];
          const leaf = mint({ ...fields, spiffeId, dnsNames, serial, notBefore, notAfter, subject });
          const ours = readCertificate(leaf);
          const theirs = new peculiar.X509Certificate(Uint8Array.from(leaf));
          const node = new NodeCertificate(leaf);
          const names = theirs.getExtension(peculiar.SubjectAlternativeNameExtension)?.names.toJSON();
          expect(names).toEqual([
            { type: "url", value: spiffeId },
            ...dnsNames.map((value) => ({ type: "dns", value })),
          ]);
          expect(ours.subjectAltName).toEqual({ uris: [spiffeId], dnsNames, others: 0 });
          expect(theirs.notBefore.getTime()).toBe(ours.notBefore * 1000);
          expect(theirs.notAfter.getTime()).toBe(ours.notAfter * 1000);
          expect([ours.notBefore, ours.notAfter]).toEqual([notBefore, notAfter]);
          expect(BigInt(`0x${theirs.serialNumber}`)).toBe(BigInt(serialToDecimal(serial)));
          expect(BigInt(`0x${node.serialNumber}`)).toBe(BigInt(`0x${serialToHex(ours.serial)}`));
          expect(theirs.subjectName.getField("O")).toEqual([organization]);
          expect(Buffer.compare(new Uint8Array(theirs.publicKey.rawData), ours.spki)).toBe(0);
          expect(theirs.extensions.map(({ type, critical }) => ({ type, critical }))).toEqual(
            ours.extensions.map(({ oid, critical }) => ({ type: oid, critical })),
          );
          expect(theirs.getExtension(peculiar.BasicConstraintsExtension)?.ca).toBe(false);
          expect(theirs.getExtension(peculiar.KeyUsagesExtension)?.usages).toBe(ours.keyUsage);
          expect(theirs.getExtension(peculiar.ExtendedKeyUsageExtension)?.usages).toEqual(ours.extKeyUsage);
          expect(node.verify(new NodeCertificate(authority.der).publicKey)).toBe(true);
          expect(parseX509Svid(ours).spiffeId).toBe(spiffeId);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("puts the first DNS name into the subject, unless it is too long for a common name", () => {
    const subject = (dnsName: string) =>
      new peculiar.X509Certificate(Uint8Array.from(mint({ ...fields, dnsNames: [dnsName] }))).subject;
    expect(subject("a.example")).toBe("C=US, O=SPIRE, CN=a.example");
    expect(subject("a".repeat(65))).toBe("C=US, O=SPIRE");
  });

  it("makes subjectAltName critical where the subject is empty", () => {
    const leaf = readCertificate(mint({ ...fields, subject: [] }));
    expect(leaf.extensions.find(({ oid }) => oid === "2.5.29.17")?.critical).toBe(true);
    expect(rules({ subject: [] })).toEqual([]);
  });

  it.each([
    ["a SPIFFE ID that is not ASCII", { spiffeId: "spiffe://example.org/ä" }],
    ["a DNS name with a NUL", { dnsNames: ["a\0b"] }],
    ["an empty DNS name", { dnsNames: [""] }],
    ["a time in fractions", { notAfter: TEST_NOW + 0.5 }],
    ["a time beyond the year 9999", { notAfter: 253_402_300_800 }],
  ])("refuses to write %s", (_, wanted) => {
    expect(() => template.build({ ...fields, ...wanted })).toThrowCode("CERTIFICATE_LINT_FAILED");
  });
});

describe("X509-SVID lint", () => {
  it("finds nothing in what the template makes", () => {
    expect(rules({})).toEqual([]);
    expect(rules({ dnsNames: [] }, { dnsNames: [] })).toEqual([]);
  });

  it.each([
    ["XS-01", { spiffeId: "spiffe://example.org/other" }],
    ["XS-04", { spiffeId: "spiffe://example.org" }],
    ["XS-04", { spiffeId: "https://example.org/x" }],
    ["XS-03", { dnsNames: ["a.example"] }],
    ["RFC5280-4.1.2.7", { spki: authorityKey.spki }],
    ["RFC5280-4.1.2.5", { notBefore: TEST_NOW + 3600 }],
    ["RFC5280-4.1.2.5", { notAfter: TEST_NOW + 3601 }],
    ["RFC5280-6.1", { notAfter: TEST_NOW + 86_401 }],
    ["RFC5280-4.1.2.2", { serial: Uint8Array.of(1) }],
    ["RFC5280-4.1", { serial: Uint8Array.of(0) }],
    ["RFC5280-4.1", { serial: Buffer.alloc(21, 1) }],
    ["RFC5280-4.2.1.2", { subjectKeyId: Uint8Array.of(1) }],
  ] satisfies [string, Partial<X509SvidFields>][])("finds %s in a leaf with %j", (rule, wanted) => {
    expect(rules(wanted)).toContain(rule);
  });

  it.each([
    ["RFC5280-4.1.2.4", { issuer: Uint8Array.of(0x30, 0) }],
    ["RFC5280-4.2.1.1", { authorityKeyId: Buffer.alloc(20) }],
    ["RFC5280-4.1.2.3", { signatureAlgorithm: "ecdsa-sha384" as const }],
    ["RFC5280-6.1", { authorityNotAfter: TEST_NOW }],
  ])("finds %s where the authority is another", (rule, want) => {
    expect(rules({}, want)).toContain(rule);
  });

  const foreign = (wanted: Partial<Parameters<typeof makeCertificate>[0]>) =>
    lintX509SvidTbs(
      makeCertificate({
        subject: "x",
        key: workloadKey,
        issuer: { certificate: authority, key: authorityKey },
        uris: [fields.spiffeId],
        dnsNames: fields.dnsNames,
        purposes: ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
        ...wanted,
      }).tbs,
      { ...expected, serial: undefined } as unknown as ExpectedX509Svid,
    ).map(({ rule }) => rule);

  it.each([
    [[], {}],
    [["XS-01"], { uris: [fields.spiffeId, "https://example.org"] }],
    [["XS-01", "XS-01", "XS-04"], { uris: [] }],
    [["XS-14"], { ca: true, keyUsage: [7, 0x80] }],
    [["XS-17", "XS-18", "XS-21"], { keyUsage: null }],
    [["XS-21"], { keyUsage: [5, 0x20] }],
    [["XS-23", "XS-43"], { keyUsage: [2, 0x84] }],
    [["XS-24", "XS-43"], { keyUsage: [1, 0x82] }],
    [["XS-25", "XS-27"], { purposes: undefined as unknown as string[] }],
    [["XS-27"], { purposes: ["1.3.6.1.5.5.7.3.1"] }],
    [["RFC5280-4.2.1.1", "RFC5280-4.2.1.2"], { keyIdentifiers: false }],
    [["RFC5280-4.2"], { extensions: [makeExtension("1.2.3.4", false, der.nullValue())] }],
  ])("finds %j in a leaf of another maker with %j", (found, wanted) => {
    expect(foreign(wanted)).toEqual(found);
  });

  it("notices every changed bit outside subject, key identifier, validity and the optional key usages", () => {
    const tbs = Buffer.from(template.build(fields));
    const free = new Set<number>();
    const spare = (bytes: Uint8Array, from = 0) => {
      const start = tbs.indexOf(bytes, from);
      for (let at = start; at < start + bytes.length; at++) free.add(at);
      return start;
    };
    const { subject } = readCertificate(mint(fields));
    const subjectAt = spare(subject, tbs.indexOf(authority.subject) + authority.subject.length);
    spare(fields.subjectKeyId);
    free.add(tbs.indexOf(Uint8Array.of(0x03, 0x02, 0x03, 0xa8)) + 3);
    // What a changed time may say is checked by the rules above; earlier ends and other beginnings are allowed.
    spare(tbs.subarray(subjectAt - 2 * 15, subjectAt));
    const silent: number[] = [];
    for (let at = 0; at < tbs.length; at++) {
      for (let bit = 0; bit < 8 && !free.has(at); bit++) {
        const changed = Buffer.from(tbs);
        changed[at] = (changed[at] as number) ^ (1 << bit);
        if (lintX509SvidTbs(changed, expected).length === 0) silent.push(at);
      }
    }
    expect(silent).toEqual([]);
  });
});

describe("X.509 authority", () => {
  it("fits its profile and verifies with its own key", () => {
    expect(lintX509AuthorityCertificate(authority.der, { trustDomain: "example.org" })).toEqual([]);
    const node = new NodeCertificate(authority.der);
    expect(node.verify(node.publicKey)).toBe(true);
    expect(node.subject).toBe(`C=US\nO=SPIFFE\nserialNumber=${serialToDecimal(authority.serial)}`);
    expect(Buffer.compare(authority.subject, authority.issuer)).toBe(0);
    expect(Buffer.from(authority.subjectKeyId as Uint8Array)).toEqual(
      Buffer.from(subjectKeyIdentifier(authorityKey.spki)),
    );
  });

  it("can have P-384 and RSA keys, and a signer that takes its time", async () => {
    const p384 = makeKey("ec-p384");
    const slow = await makeAuthority(p384.spki, "ecdsa-sha384", p384.sign);
    expect(new NodeCertificate(slow.der).verify(new NodeCertificate(slow.der).publicKey)).toBe(true);
    const rsa = await generateRsaKeyPair(2048);
    const privateKey = createPrivateKey({ key: Buffer.from(rsa.pkcs8), format: "der", type: "pkcs8" });
    const rsaAuthority = await makeAuthority(rsa.spki, "rsa-sha256", (bytes) =>
      sign("sha256", bytes, privateKey),
    );
    expect(
      new NodeCertificate(rsaAuthority.der).verify(new NodeCertificate(rsaAuthority.der).publicKey),
    ).toBe(true);
    expect(lintX509AuthorityCertificate(rsaAuthority.der, { trustDomain: "example.org" })).toEqual([]);
  });

  it.each([
    ["XS-08", { uris: ["spiffe://example.org/"] }],
    ["XS-08", { uris: ["spiffe://other.org"] }],
    ["XS-01", { uris: [] }],
    ["XS-13", { ca: false, keyUsage: [1, 0x06] }],
    ["XS-17", { keyUsage: null }],
    ["XS-19", { keyUsage: [1, 0x02] }],
    ["XS-43", { keyUsage: [1, 0x86] }],
    ["XS-28", { purposes: ["1.3.6.1.5.5.7.3.1"] }],
    ["RFC5280-4.2.1.2", { keyIdentifiers: false }],
  ])("is found to break %s with %j", (rule, wanted) => {
    const { der: bytes } = makeCertificate({
      subject: "ca",
      key: authorityKey,
      ca: true,
      uris: ["spiffe://example.org"],
      ...wanted,
    });
    expect(
      lintX509AuthorityCertificate(bytes, { trustDomain: "example.org" }).map((one) => one.rule),
    ).toContain(rule);
  });
});

describe("certificate reader", () => {
  const leaf = mint(fields);

  it("refuses every truncation, trailing bytes and ten megabytes", () => {
    for (let length = 0; length < leaf.length; length++) {
      expect(() => readCertificate(leaf.subarray(0, length))).toThrowCode("INVALID_CERTIFICATE");
    }
    expect(() => readCertificate(Buffer.concat([leaf, leaf]))).toThrowCode("INVALID_CERTIFICATE", /trailing/);
    expect(() => readCertificate(Buffer.alloc(10_000_000, 0x30))).toThrowCode(
      "INVALID_CERTIFICATE",
      /at most/,
    );
  });

  it("throws nothing but its code for a certificate with one changed byte", () => {
    for (let at = 0; at < leaf.length; at++) {
      const changed = Buffer.from(leaf);
      changed[at] = (changed[at] as number) ^ 0x55;
      try {
        readCertificate(changed);
      } catch (error) {
        expect(error).toHaveProperty("code", "INVALID_CERTIFICATE");
      }
    }
  });

  it("refuses an extension that appears twice and an explicit FALSE", () => {
    const twice = [
      makeExtension("1.2.3", false, der.nullValue()),
      makeExtension("1.2.3", false, der.nullValue()),
    ];
    expect(() => makeCertificate({ subject: "x", key: workloadKey, extensions: twice })).toThrowCode(
      "INVALID_CERTIFICATE",
      /twice/,
    );
    const explicitFalse = der.sequence(
      der.oid("1.2.3"),
      der.primitive(0x01, Uint8Array.of(0)),
      der.octetsOf(der.nullValue()),
    );
    expect(() =>
      makeCertificate({ subject: "x", key: workloadKey, extensions: [explicitFalse] }),
    ).toThrowCode("INVALID_CERTIFICATE", /left out/);
  });

  it("reads several certificates in DER and in PEM", () => {
    const both = parseCertificates(Buffer.concat([leaf, authority.der]));
    expect(both.map((one) => Buffer.from(one.der))).toEqual([Buffer.from(leaf), Buffer.from(authority.der)]);
    expect(parseCertificates(new Uint8Array())).toEqual([]);
    const pem = `leaf\n${toPem("CERTIFICATE", leaf)}\nroot\n${toPem("CERTIFICATE", authority.der)}`;
    expect(parsePemCertificates(pem).map((one) => Buffer.from(one.der))).toEqual(
      both.map((one) => Buffer.from(one.der)),
    );
    expect(() => parseCertificates(Buffer.concat([leaf, leaf, leaf]), 2)).toThrowCode(
      "INVALID_CERTIFICATE",
      /at most 2/,
    );
    expect(() => parsePemCertificates(pem, 1)).toThrowCode("INVALID_CERTIFICATE", /at most 1/);
  });

  it.each([
    ["no block", "hello", /no certificate/],
    ["a private key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", /only/],
    ["no end", "-----BEGIN CERTIFICATE-----\nAAAA", /no end/],
    [
      "characters outside base64",
      "-----BEGIN CERTIFICATE-----\nA*AA\n-----END CERTIFICATE-----",
      /not base64/,
    ],
  ])("refuses PEM with %s", (_, pem, detail) => {
    expect(() => parsePemCertificates(pem)).toThrowCode("INVALID_CERTIFICATE", detail);
  });
});

describe("serial numbers", () => {
  it("are never zero", () => {
    const draws = [new Uint8Array(16), Uint8Array.of(...Array<number>(15).fill(0), 7)];
    const serial = randomSerial(() => draws.shift() as Uint8Array);
    expect(serialToDecimal(serial)).toBe("7");
    expect(serialToHex(serial)).toBe("07");
  });
});

describe.skipIf(!hasOpenssl)("OpenSSL", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "assay-x509-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(["sslserver", "sslclient"])("accepts leaf and authority with -x509_strict for %s", (purpose) => {
    writeFileSync(join(folder, "ca.pem"), toPem("CERTIFICATE", authority.der));
    writeFileSync(join(folder, "leaf.pem"), toPem("CERTIFICATE", mint(fields)));
    const output = execFileSync(
      "openssl",
      [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-attime",
        `${TEST_NOW}`,
        "-CAfile",
        "ca.pem",
        "leaf.pem",
      ],
      { cwd: folder },
    );
    expect(output.toString()).toBe("leaf.pem: OK\n");
  });
});
