import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { expect, it } from "vitest";
import { EC_PARAMS, ecPublicKey, rsaPublicKey } from "./public-key.ts";

function ecPoint(namedCurve: string, size: number) {
  const spki = generateKeyPairSync("ec", { namedCurve }).publicKey.export({ type: "spki", format: "der" });
  return { spki, bare: spki.subarray(-size) };
}

it.each([
  ["ec-p256", "P-256", 65],
  ["ec-p384", "P-384", 97],
] as const)(
  "reads a point on %s, wrapped as the standard says and bare as some devices tell it",
  (type, curve, size) => {
    const { spki, bare } = ecPoint(curve, size);
    for (const point of [Buffer.concat([Buffer.of(4, size), bare]), bare]) {
      const key = ecPublicKey(EC_PARAMS[type], point);
      expect(key.type).toBe(type);
      expect(Buffer.from(key.publicKey)).toEqual(spki);
    }
  },
);

it.each([2048, 4096])("reads an RSA key of %i bits, with and without leading zeros", (modulusLength) => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const real = modulusLength === 2048 ? publicKey : generateKeyPairSync("rsa", { modulusLength }).publicKey;
  const { n = "" } = real.export({ format: "jwk" });
  const modulus = Buffer.from(n, "base64url");
  for (const one of [modulus, Buffer.concat([Buffer.of(0), modulus])]) {
    const key = rsaPublicKey(one, Buffer.of(1, 0, 1));
    expect(key.type).toBe(`rsa-${modulusLength}`);
    expect(
      createPublicKey({ key: Buffer.from(key.publicKey), format: "der", type: "spki" }).equals(real),
    ).toBe(true);
  }
});

it.each([
  ["nothing", Buffer.alloc(0)],
  ["a compressed point", Buffer.concat([Buffer.of(4, 33, 2), Buffer.alloc(32, 1)])],
  ["a point of another length", Buffer.concat([Buffer.of(4, 64, 4), Buffer.alloc(63, 1)])],
  ["something after the point", Buffer.concat([Buffer.of(4, 65, 4), Buffer.alloc(64, 1), Buffer.of(0)])],
])("refuses %s as a point", (_, point) => {
  expect(() => ecPublicKey(EC_PARAMS["ec-p256"], point)).toThrowCode("KEY_UNAVAILABLE");
});

it("refuses other curves, sizes and exponents", () => {
  expect(() => ecPublicKey(Buffer.of(6, 1, 1), Buffer.alloc(65, 4))).toThrowCode(
    "KEY_UNAVAILABLE",
    /another|other than/,
  );
  const three = Buffer.from(
    generateKeyPairSync("rsa", { modulusLength: 3072 }).publicKey.export({ format: "jwk" }).n ?? "",
    "base64url",
  );
  expect(() => rsaPublicKey(three, Buffer.of(1, 0, 1))).toThrowCode("KEY_UNAVAILABLE", /2048 nor 4096/);
  expect(() => rsaPublicKey(Buffer.alloc(0), Buffer.of(1, 0, 1))).toThrowCode("KEY_UNAVAILABLE");
  expect(() => rsaPublicKey(Buffer.alloc(256, 0xff), Buffer.of(1))).toThrowCode("KEY_UNAVAILABLE");
});
