import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import { isCrlOf, readCrl, requireUnrevoked } from "./crl.ts";
import { type CrlFields, lintTbsCrl, type RevokedCertificate, writeTbsCrl } from "./crl-writer.ts";
import { toPem } from "./pem.ts";
import { assembleSigned } from "./signed-der.ts";

const key = makeKey();
const authority = makeCertificate({ subject: "authority", key, ca: true });
const fields: CrlFields = {
  issuer: authority.subject,
  authorityKeyId: authority.subjectKeyId ?? new Uint8Array(),
  signatureAlgorithm: "ecdsa-sha256",
  number: 1n,
  thisUpdate: TEST_NOW,
  nextUpdate: TEST_NOW + 600,
  revoked: [],
};
const entry = (serial: string, change: Partial<RevokedCertificate> = {}): RevokedCertificate => ({
  serial,
  revokedAt: TEST_NOW - 5,
  ...change,
});
const signed = (change: Partial<CrlFields> = {}) => {
  const tbs = writeTbsCrl({ ...fields, ...change });
  expect(lintTbsCrl(tbs, { ...fields, ...change })).toEqual([]);
  return assembleSigned(tbs, "ecdsa-sha256", key.sign(tbs));
};
const rules = (tbs: Uint8Array, change: Partial<CrlFields> = {}) =>
  lintTbsCrl(tbs, { ...fields, ...change }).map(({ rule }) => rule);

const folder = mkdtempSync(join(tmpdir(), "assay-crl-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("writeTbsCrl (RFC 5280 §5)", () => {
  it("writes a list that the reader reads and the authority has signed", () => {
    const crl = readCrl(signed({ number: 300n, revoked: [entry("0aff"), entry("80")] }), "INVALID_CRL");
    expect(crl).toMatchObject({ number: 300n, thisUpdate: TEST_NOW, nextUpdate: TEST_NOW + 600 });
    expect([...crl.revoked]).toEqual(["0aff", "80"]);
    expect(isCrlOf(crl, authority)).toBe(true);
    const leaf = makeCertificate({ subject: "w", key: makeKey(), issuer: { certificate: authority, key } });
    expect(() => requireUnrevoked([leaf, authority], [crl])).not.toThrow();
    const own = readCrl(
      signed({ revoked: [entry(Buffer.from(leaf.serial).toString("hex"))] }),
      "INVALID_CRL",
    );
    expect(() => requireUnrevoked([leaf, authority], [own])).toThrowCode("INVALID_CERTIFICATE", /revoked/);
  });

  it("leaves the list out where nothing is revoked", () => {
    expect(readCrl(signed(), "INVALID_CRL").revoked.size).toBe(0);
  });

  it("is read by OpenSSL as it was ordered, and verifies there", () => {
    const list = join(folder, "list.der");
    const ca = join(folder, "ca.pem");
    writeFileSync(ca, toPem("CERTIFICATE", authority.der));
    writeFileSync(
      list,
      signed({
        number: 2n ** 158n,
        nextUpdate: Date.UTC(2050, 0, 1) / 1000,
        revoked: [
          entry("0aff", { reason: "cessationOfOperation" }),
          entry("f0", { reason: "keyCompromise" }),
          entry("01", { reason: "unspecified" }),
        ],
      }),
    );
    const run = (...options: string[]) => {
      const args = ["crl", "-inform", "DER", "-in", list, "-noout", ...options];
      const { status, stdout, stderr } = spawnSync("openssl", args, { encoding: "utf8" });
      expect(status, stderr).toBe(0);
      return stdout + stderr;
    };
    const text = run("-text");
    expect(text).toContain("Version 2 (0x1)");
    expect(text).toContain("Next Update: Jan  1 00:00:00 2050 GMT");
    expect(text).toMatch(/Serial Number: 0AFF\n.*\n.*\n.*Reason Code: \n.*Cessation Of Operation/);
    expect(text).toMatch(/Serial Number: F0\n.*\n.*\n.*Reason Code: \n.*Key Compromise/);
    expect(text.match(/Reason Code/g)).toHaveLength(2);
    expect(text).toContain("X509v3 Authority Key Identifier");
    expect(BigInt(run("-crlnumber").trim().replace("crlNumber=", ""))).toBe(2n ** 158n);
    expect(run("-CAfile", ca)).toContain("verify OK");
  });

  it("writes whatever serial numbers, times and numbers there are so that they read back", () => {
    const serials = fc.uniqueArray(
      fc.uint8Array({ minLength: 1, maxLength: 20 }).map((octets) => {
        octets[0] = (octets[0] as number) | 1;
        return Buffer.from(octets).toString("hex");
      }),
      { maxLength: 8 },
    );
    const second = fc.integer({ min: -600_000_000, max: 200_000_000_000 });
    const reason = fc.constantFrom(
      "unspecified",
      "keyCompromise",
      "superseded",
      "privilegeWithdrawn" as const,
    );
    fc.assert(
      fc.property(
        serials,
        second,
        second,
        reason,
        fc.bigInt(0n, 2n ** 159n - 1n),
        (all, a, b, why, number) => {
          fc.pre(a !== b);
          const [thisUpdate, nextUpdate] = [Math.min(a, b), Math.max(a, b)];
          const revoked = all.map((serial) => entry(serial, { revokedAt: a, reason: why }));
          const crl = readCrl(signed({ revoked, thisUpdate, nextUpdate, number }), "INVALID_CRL");
          expect(crl).toMatchObject({ thisUpdate, nextUpdate, number });
          expect([...crl.revoked]).toEqual(all);
        },
      ),
    );
  });

  it.each<[string, Partial<CrlFields>, RegExp]>([
    ["a serial number that is not hex", { revoked: [entry("xyz")] }, /serial number/],
    ["a serial number in capitals", { revoked: [entry("0A")] }, /serial number/],
    ["an empty serial number", { revoked: [entry("")] }, /serial number/],
    ["a serial number of 21 octets", { revoked: [entry("01".repeat(21))] }, /serial number/],
    ["a negative number", { number: -1n }, /cRLNumber must not be negative/],
    ["a date beyond all certificates", { nextUpdate: 1e12 }, /between the years/],
    ["a date that is none", { thisUpdate: Number.NaN }, /between the years/],
  ])("does not write %s", (_, change, detail) => {
    expect(() => writeTbsCrl({ ...fields, ...change })).toThrowCode("CERTIFICATE_LINT_FAILED", detail);
  });
});

describe("lintTbsCrl", () => {
  const one = [entry("0aff", { reason: "superseded" })];
  const tbs = writeTbsCrl({ ...fields, revoked: one });

  it.each<[string, Partial<CrlFields>, string]>([
    ["another issuer", { issuer: makeCertificate({ subject: "x", key }).subject }, "RFC5280-5.1.2.3"],
    ["another thisUpdate", { thisUpdate: TEST_NOW + 1 }, "RFC5280-5.1.2.4"],
    ["another nextUpdate", { nextUpdate: TEST_NOW + 601 }, "RFC5280-5.1.2.5"],
    ["another key identifier", { authorityKeyId: Uint8Array.of(1) }, "RFC5280-5.2.1"],
    ["another number", { number: 2n }, "RFC5280-5.2.3"],
    ["another certificate", { revoked: [entry("0afe", { reason: "superseded" })] }, "RFC5280-5.3"],
    ["another reason", { revoked: [entry("0aff", { reason: "keyCompromise" })] }, "RFC5280-5.3"],
    ["no reason", { revoked: [entry("0aff")] }, "RFC5280-5.3"],
    ["another date", { revoked: [{ ...entry("0aff"), revokedAt: 1, reason: "superseded" }] }, "RFC5280-5.3"],
    ["no certificate", { revoked: [] }, "RFC5280-5.1.2.6"],
  ])("finds a list with %s", (_, change, rule) => {
    expect(rules(tbs, { revoked: one, ...change })).toEqual([rule]);
  });

  it("finds a certificate that is in the list twice, a number that is too long, and a time that does not pass", () => {
    const twice = { revoked: [entry("01"), entry("01")] };
    expect(rules(writeTbsCrl({ ...fields, ...twice }), twice)).toEqual(["RFC5280-5.1.2.6"]);
    const leading = { revoked: [entry("0001")] };
    expect(rules(writeTbsCrl({ ...fields, ...leading }), leading)).toEqual(["RFC5280-5.3"]);
    const long = { number: 2n ** 160n };
    expect(rules(writeTbsCrl({ ...fields, ...long }), long)).toEqual(["RFC5280-5.2.3"]);
    const still = { nextUpdate: TEST_NOW };
    expect(rules(writeTbsCrl({ ...fields, ...still }), still)).toEqual(["RFC5280-5.1.2.5"]);
  });

  it("finds what is no list, and a list that would be too large for its readers", () => {
    expect(rules(Uint8Array.of(0x30, 0))).toEqual(["RFC5280-5.1"]);
    expect(rules(Buffer.concat([writeTbsCrl(fields), Buffer.of(0)]))).toEqual(["RFC5280-5.1"]);
    const revoked = Array.from({ length: 30_000 }, (_, at) =>
      entry(`7f${at.toString(16).padStart(30, "0")}`),
    );
    expect(rules(writeTbsCrl({ ...fields, revoked }), { revoked })).toEqual(["RFC5280-5.1"]);
  });
});
