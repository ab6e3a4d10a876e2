import { execFileSync, spawnSync } from "node:child_process";
import { createPrivateKey, sign } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeKey } from "../../test/fakes/certificates.ts";
import * as der from "./der/writer.ts";
import { generateRsaKeyPair, keyTypeOf } from "./keys.ts";
import { createCertificationRequest } from "./pkcs10-writer.ts";
import { readCertificationRequest } from "./pkcs10.ts";
import { openDer } from "./der/reader.ts";
import { assembleSigned } from "./signed-der.ts";
import { readSubjectAltName } from "./subject-alt-name.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const key = makeKey();
const csr = createCertificationRequest(
  {
    spki: key.spki,
    subject: [{ oid: "2.5.4.3", value: "wörk load" }],
    uris: ["spiffe://example.org/a"],
    dnsNames: ["a.example", "b.example"],
  },
  "ecdsa-sha256",
  key.sign,
);

describe("readCertificationRequest", () => {
  it("returns key, subject and names of a good request", () => {
    const request = readCertificationRequest(csr);
    expect(request.keyType).toBe("ec-p256");
    expect(Buffer.compare(request.spki, key.spki)).toBe(0);
    expect(request.subject).toEqual([{ oid: "2.5.4.3", value: "wörk load" }]);
    expect(request.uris).toEqual(["spiffe://example.org/a"]);
    expect(request.dnsNames).toEqual(["a.example", "b.example"]);
  });

  it("accepts P-384 and RSA keys", async () => {
    const p384 = makeKey("ec-p384");
    const ec = createCertificationRequest({ spki: p384.spki }, "ecdsa-sha384", p384.sign);
    expect(readCertificationRequest(ec)).toMatchObject({
      keyType: "ec-p384",
      uris: [],
      dnsNames: [],
      subject: [],
    });
    const rsa = await generateRsaKeyPair(2048);
    const rsaKey = createPrivateKey({ key: Buffer.from(rsa.pkcs8), format: "der", type: "pkcs8" });
    const request = createCertificationRequest({ spki: rsa.spki }, "rsa-sha256", (info) =>
      sign("sha256", info, rsaKey),
    );
    expect(readCertificationRequest(request).keyType).toBe("rsa");
  });

  it("refuses every truncation and every trailing byte", () => {
    for (let length = 0; length < csr.length; length++) {
      expect(() => readCertificationRequest(csr.subarray(0, length))).toThrowCode("INVALID_CSR");
    }
    expect(() => readCertificationRequest(Buffer.concat([csr, Uint8Array.of(0)]))).toThrowCode(
      "INVALID_CSR",
      /trailing/,
    );
  });

  it("never accepts a request in which any one byte was changed", () => {
    for (let at = 0; at < csr.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const changed = Buffer.from(csr);
        changed[at] = (changed[at] as number) ^ flip;
        expect(() => readCertificationRequest(changed), `byte ${at} ^ ${flip}`).toThrowCode("INVALID_CSR");
      }
    }
  });

  it("refuses a signature by another key", () => {
    const other = makeKey();
    const forged = createCertificationRequest({ spki: key.spki }, "ecdsa-sha256", other.sign);
    expect(() => readCertificationRequest(forged)).toThrowCode("INVALID_CSR", /does not verify/);
  });

  it("refuses a signature algorithm of another kind than the key", () => {
    const info = der.encode(der.sequence(der.tinyInteger(0), der.sequence(), key.spki, der.explicit(0)));
    expect(() => readCertificationRequest(assembleSigned(info, "rsa-sha256", key.sign(info)))).toThrowCode(
      "INVALID_CSR",
      /does not fit the ec-p256 key/,
    );
  });

  it("refuses another version than 1, even if it is signed", () => {
    const info = der.encode(der.sequence(der.tinyInteger(1), der.sequence(), key.spki, der.explicit(0)));
    expect(() => readCertificationRequest(assembleSigned(info, "ecdsa-sha256", key.sign(info)))).toThrowCode(
      "INVALID_CSR",
      /version/,
    );
  });

  it("refuses two extension requests and an extension asked for twice", () => {
    const san = der.sequence(
      der.oid("2.5.29.17"),
      der.octetsOf(der.sequence(der.primitive(0x86, "spiffe://a/b"))),
    );
    const attribute = (...extensions: der.Der[]) =>
      der.sequence(der.oid("1.2.840.113549.1.9.14"), der.set(der.sequence(...extensions)));
    const request = (...attributes: der.Der[]) => {
      const info = der.encode(
        der.sequence(der.tinyInteger(0), der.sequence(), key.spki, der.explicit(0, ...attributes)),
      );
      return assembleSigned(info, "ecdsa-sha256", key.sign(info));
    };
    expect(readCertificationRequest(request(attribute(san))).uris).toEqual(["spiffe://a/b"]);
    expect(() => readCertificationRequest(request(attribute(san), attribute(san)))).toThrowCode(
      "INVALID_CSR",
      /more than one extension request/,
    );
    expect(() => readCertificationRequest(request(attribute(san, san)))).toThrowCode("INVALID_CSR", /twice/);
  });

  it("refuses a point that is not on its curve, and a compressed one", () => {
    const offCurve = Buffer.from(key.spki);
    offCurve[offCurve.length - 1] = (offCurve[offCurve.length - 1] as number) ^ 1;
    const request = createCertificationRequest({ spki: offCurve }, "ecdsa-sha256", key.sign);
    expect(() => readCertificationRequest(request)).toThrowCode("INVALID_CSR", /on its curve/);
    const point = Buffer.concat([Uint8Array.of(2), key.spki.subarray(-64, -32)]);
    const algorithm = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"));
    const compressed = der.encode(der.sequence(algorithm, der.bitString(point)));
    expect(() => keyTypeOf(compressed, "INVALID_CSR")).toThrowCode("INVALID_CSR", /uncompressed/);
  });

  it.each([
    ["an exponent of 1", 2048, [1], /exponent/],
    ["an exponent of 3", 2048, [3], /exponent/],
    ["an even exponent", 2048, [1, 0, 2], /exponent/],
    ["an exponent of 33 bits", 2048, [1, 0, 0, 0, 1], /exponent/],
    ["1024 bits", 1024, [1, 0, 1], /RSA-1024/],
    ["8192 bits", 8192, [1, 0, 1], /RSA-8192/],
  ])("refuses RSA with %s", (_, bits, exponent, detail) => {
    const modulus = Buffer.alloc(bits / 8, 0xff);
    const rsaKey = der.encode(
      der.sequence(der.unsignedInteger(modulus), der.unsignedInteger(Uint8Array.from(exponent))),
    );
    const spki = der.encode(
      der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1"), der.nullValue()), der.bitString(rsaKey)),
    );
    expect(() => keyTypeOf(spki, "INVALID_CSR")).toThrowCode("INVALID_CSR", detail);
  });

  it.each([
    ["a PrintableString with an octet of zero", 0x13, "a\0b", /not valid text/],
    ["a PrintableString with an underscore", 0x13, "a_b", /not valid text/],
    ["a NumericString of letters", 0x12, "ab", /not valid text/],
    ["an IA5String with an octet of zero", 0x16, "a\0b", /not valid text/],
    ["a value that is no universal type", 0x93, "ab", /no string type/],
    ["a value that is an INTEGER", 0x02, "\x01", /no string type/],
  ])("refuses a subject with %s, however well it is signed", (_, tag, value, detail) => {
    const attribute = der.sequence(der.oid("2.5.4.3"), der.primitive(tag, value));
    const subject = der.sequence(der.set(attribute));
    const info = der.encode(der.sequence(der.tinyInteger(0), subject, key.spki, der.explicit(0)));
    const request = assembleSigned(info, "ecdsa-sha256", key.sign(info));
    expect(() => readCertificationRequest(request)).toThrowCode("INVALID_CSR", detail);
  });

  it("reads no range as an IP address", () => {
    const addresses = (length: number) =>
      new Uint8Array(der.encode(der.sequence(der.primitive(0x87, Buffer.alloc(length, 1)))));
    const read = (length: number) =>
      readSubjectAltName(openDer(addresses(length), "INVALID_CSR", 1000, "subjectAltName"));
    expect(read(4).others).toBe(1);
    expect(read(16).others).toBe(1);
    expect(() => read(8)).toThrowCode("INVALID_CSR", /4 or 16 octets/);
  });

  it("refuses ten megabytes at once", () => {
    const huge = Buffer.alloc(10_000_000, 0x30);
    expect(() => readCertificationRequest(huge)).toThrowCode("INVALID_CSR", /at most 16384 bytes/);
  });
});

describe.skipIf(!hasOpenssl)("requests made by OpenSSL", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "assay-csr-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const request = (...keyOptions: string[]): Buffer => {
    const keyFile = join(folder, "key.pem");
    execFileSync("openssl", ["genpkey", ...keyOptions, "-out", keyFile], { stdio: "pipe" });
    const san = "subjectAltName=URI:spiffe://example.org/x,DNS:x.example,IP:192.0.2.1";
    const options = [
      "req",
      "-new",
      "-key",
      keyFile,
      "-subj",
      "/C=DE/O=Org/CN=x",
      "-addext",
      san,
      "-outform",
      "DER",
    ];
    return execFileSync("openssl", options, { stdio: "pipe" });
  };

  it.each([
    ["ec-p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]],
    ["ec-p384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]],
    ["rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]],
    ["rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]],
  ])("are accepted with a key of type %s (%j)", (keyType, options) => {
    const read = readCertificationRequest(request(...options));
    expect(read).toMatchObject({ keyType, uris: ["spiffe://example.org/x"], dnsNames: ["x.example"] });
    expect(read.subject.map(({ value }) => value)).toEqual(["DE", "Org", "x"]);
  });

  it.each([
    [/Ed25519/, ["-algorithm", "ED25519"]],
    [/P-521/, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]],
    [/secp256k1/, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]],
    [/RSA-1024/, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]],
    [
      /name its curve/,
      ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
    ],
  ])("are refused with %s", (detail, options) => {
    expect(() => readCertificationRequest(request(...options))).toThrowCode("INVALID_CSR", detail);
  });
});

describe.skipIf(!hasOpenssl)("requests made here", () => {
  it("verify with OpenSSL", () => {
    const result = spawnSync("openssl", ["req", "-inform", "DER", "-verify", "-noout", "-text"], {
      input: csr,
    });
    expect(result.stderr.toString()).toMatch(/verify OK/);
    expect(result.stdout.toString()).toMatch(/URI:spiffe:\/\/example.org\/a, DNS:a.example/);
  });
});
