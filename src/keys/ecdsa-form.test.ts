import { generateKeyPairSync, sign, verify } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { derToP1363, p1363ToDer } from "./ecdsa-form.ts";

describe("derToP1363", () => {
  it.each([
    ["P-256", "sha256", 32],
    ["P-384", "sha384", 48],
  ] as const)("gives what verifies in the other form with %s", (namedCurve, digest, size) => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (data) => {
        const fixed = derToP1363(sign(digest, data, privateKey), size);
        expect(fixed.length).toBe(2 * size);
        expect(verify(digest, data, { key: publicKey, dsaEncoding: "ieee-p1363" }, fixed)).toBe(true);
      }),
    );
  });

  it("fills halves that are short", () => {
    const fixed = derToP1363(Buffer.from("3007020101020200ff", "hex"), 32);
    expect(Buffer.from(fixed).toString("hex")).toBe(`${"00".repeat(31)}01${"00".repeat(31)}ff`);
  });

  it.each([
    ["nothing", ""],
    ["bytes after it", "300602010102010100"],
    ["bytes inside it", "3009020101020101020101"],
    ["one half", "3003020101"],
    ["a negative half", "3006020101020180"],
    ["a half of padding", "300702010102020001"],
    ["a long half", `3026020101022101${"00".repeat(32)}`],
    ["halves of another type", "3006040101040101"],
  ])("refuses %s", (_, hex) => {
    expect(() => derToP1363(Buffer.from(hex, "hex"), 32)).toThrowCode("KEY_UNAVAILABLE");
  });
});

describe("p1363ToDer", () => {
  it("is the way back of derToP1363", () => {
    for (const size of [32, 48]) {
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 2 * size, maxLength: 2 * size }), (signature) => {
          expect(Buffer.from(derToP1363(p1363ToDer(signature), size))).toEqual(Buffer.from(signature));
        }),
      );
    }
  });
});
