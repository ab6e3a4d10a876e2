import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  generateEcKeyPair,
  generateRsaKeyPair,
  importPublicKey,
  keyTypeOf,
  subjectKeyIdentifier,
} from "./keys.ts";

describe("generateEcKeyPair", () => {
  it.each(["ec-p256", "ec-p384"] as const)(
    "makes %s keys whose encodings OpenSSL would write the same",
    (curve) => {
      // A scalar with leading zeros comes once in 256 keys; enough keys to see it.
      for (let count = 0; count < 600; count++) {
        const { pkcs8, spki } = generateEcKeyPair(curve);
        const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
        expect(privateKey.export({ format: "der", type: "pkcs8" }).equals(pkcs8)).toBe(true);
        expect(createPublicKey(privateKey).export({ format: "der", type: "spki" }).equals(spki)).toBe(true);
        expect(keyTypeOf(spki, "INTERNAL")).toBe(curve);
      }
    },
  );

  it("makes keys that sign", () => {
    const { pkcs8, spki } = generateEcKeyPair("ec-p256");
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
    const signature = sign("sha256", Buffer.from("x"), privateKey);
    expect(verify("sha256", Buffer.from("x"), importPublicKey(spki, "INTERNAL"), signature)).toBe(true);
  });
});

describe("generateRsaKeyPair", () => {
  it("makes keys that fit together", async () => {
    const { pkcs8, spki } = await generateRsaKeyPair(2048);
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
    expect(createPublicKey(privateKey).export({ format: "der", type: "spki" }).equals(spki)).toBe(true);
    expect(keyTypeOf(spki, "INTERNAL")).toBe("rsa");
  });
});

describe("subjectKeyIdentifier", () => {
  it("is the SHA-1 of the key bits, as RFC 5280 method 1 wants", () => {
    // P-256 base point as key; the digest was computed with `openssl sha1` over the 65 octets.
    const spki = Buffer.from(
      "3059301306072a8648ce3d020106082a8648ce3d03010703420004" +
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
      "hex",
    );
    expect(Buffer.from(subjectKeyIdentifier(spki)).toString("hex")).toBe(
      "b467a3999eb5efa671de0032f08a9c9e5efda0e1",
    );
  });

  it("refuses what is no public key", () => {
    expect(() => subjectKeyIdentifier(Buffer.from("3000", "hex"))).toThrowCode("INVALID_CERTIFICATE");
  });
});
