import { createPrivateKey } from "node:crypto";
import { describe, expect, it } from "vitest";
import { generateEcKeyPair, generateRsaKeyPair } from "../keys.ts";
import { type SvidAlgorithm, SVID_ALGORITHMS, fitsKeyType, svidAlgorithmOf } from "./svid-algorithms.ts";
import { checkWitProof, makeWitProof, type WitProofContext } from "./wit-proof.ts";
import { lintWitSvidInput, type WitSvidOrdered } from "./wit-svid-lint.ts";
import { assembleWitSvid, witSvidSigningInput } from "./wit-svid.ts";

const publicKey = generateEcKeyPair("ec-p256").spki;
const ordered: WitSvidOrdered = {
  spiffeId: "spiffe://example.org/web",
  publicKey,
  keyAlgorithm: "ES256",
  keyId: "key-1",
  algorithm: "ES384",
  issuedAt: 1000,
  expiresAt: 2000,
  authorityNotAfter: 2000,
  jti: "one",
};

function inputOf(order: WitSvidOrdered = ordered): Uint8Array {
  return witSvidSigningInput({
    keyId: order.keyId,
    alg: order.algorithm as "ES384",
    claims: {
      sub: order.spiffeId,
      exp: order.expiresAt,
      iat: order.issuedAt,
      jti: order.jti,
      publicKey: order.publicKey,
      keyAlgorithm: order.keyAlgorithm as SvidAlgorithm,
    },
  });
}

const partsOf = (input: Uint8Array) =>
  Buffer.from(input)
    .toString()
    .split(".")
    .map((part) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>);

const inputFrom = (...parts: readonly unknown[]) =>
  Buffer.from(parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join("."));

describe("a WIT-SVID before it is signed", () => {
  it("has the header and claims of the profile, in a fixed order", () => {
    const [header, claims] = partsOf(inputOf());
    expect(JSON.stringify(header)).toBe('{"alg":"ES384","kid":"key-1","typ":"wit+jwt"}');
    expect(Object.keys(claims ?? {})).toEqual(["sub", "exp", "iat", "jti", "cnf"]);
    expect(claims).toMatchObject({
      sub: ordered.spiffeId,
      exp: 2000,
      iat: 1000,
      cnf: { jwk: { kty: "EC", crv: "P-256", alg: "ES256" } },
    });
    expect(assembleWitSvid(inputOf(), Buffer.from("signature"))).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  it("refuses times that are not whole seconds", () => {
    expect(() => inputOf({ ...ordered, expiresAt: 1.5 })).toThrowCode("INTERNAL");
  });

  it("passes the lint", async () => {
    expect(lintWitSvidInput(inputOf(), ordered)).toEqual([]);
    const rsa = { ...ordered, publicKey: (await generateRsaKeyPair(2048)).spki, keyAlgorithm: "PS512" };
    expect(lintWitSvidInput(inputOf(rsa), rsa)).toEqual([]);
  });

  const [header, claims] = partsOf(inputOf());
  const cnf = claims?.["cnf"] as { readonly jwk: Record<string, unknown> };
  it.each<[string, Uint8Array]>([
    ["§2", inputFrom(header)],
    ["§2", inputFrom(header, claims, "more")],
    ["§2", Buffer.from("a.b")],
    ["§2", inputFrom("text", claims)],
    ["§2.1", inputFrom({ ...header, kid: "other" }, claims)],
    ["§2.2", inputFrom({ ...header, typ: "JWT" }, claims)],
    ["§2.3", inputFrom({ ...header, alg: "ES256" }, claims)],
    ["§2.4", inputFrom({ ...header, x5t: "more" }, claims)],
    ["§3.1", inputFrom(header, { ...claims, sub: "spiffe://example.org/other" })],
    ["§3.3", inputFrom(header, { ...claims, jti: "two" })],
    ["§3.4", inputFrom(header, { ...claims, exp: 2001 })],
    ["§3.6", inputFrom(header, { ...claims, iat: 999 })],
    ["§4", inputFrom(header, { ...claims, aud: "somebody" })],
    ["§4", inputFrom(header, { ...claims, iss: "https://example.org" })],
    ["§3.2", inputFrom(header, { ...claims, cnf: "key" })],
    ["§3.2", inputFrom(header, { ...claims, cnf: { jwk: "key" } })],
    ["§3.2", inputFrom(header, { ...claims, cnf: { ...cnf, kid: "more" } })],
    ["§3.2", inputFrom(header, { ...claims, cnf: { jwk: { ...cnf.jwk, d: "secret" } } })],
    ["§3.2", inputFrom(header, { ...claims, cnf: { jwk: { ...cnf.jwk, alg: "ES384" } } })],
    ["§3.2", inputFrom(header, { ...claims, cnf: { jwk: { ...cnf.jwk, x: cnf.jwk["y"] } } })],
  ])("is found to break %s", (rule, input) => {
    expect(lintWitSvidInput(input, ordered).map((finding) => finding.rule)).toContain(rule);
  });

  it("is found to break the order where that itself is wrong", () => {
    for (const [rule, change] of [
      ["§3.4", { authorityNotAfter: 1999 }],
      ["§3.6", { issuedAt: 2000 }],
      ["§3.2", { keyAlgorithm: "ES384" }],
      ["§3.2", { keyAlgorithm: "EdDSA" }],
      ["§3.2", { publicKey: generateEcKeyPair("ec-p256").spki }],
      ["§2.3", { algorithm: "none" }],
    ] as const) {
      const wrong = { ...ordered, ...change };
      const input = "publicKey" in change ? inputOf() : inputOf(wrong);
      expect(lintWitSvidInput(input, wrong).map((finding) => finding.rule)).toEqual([rule]);
    }
  });
});

describe("algorithms", () => {
  it("fit the keys that can sign by them", () => {
    const fitting = (type: Parameters<typeof fitsKeyType>[1]) =>
      SVID_ALGORITHMS.filter((algorithm) => fitsKeyType(algorithm, type));
    expect(fitting("ec-p256")).toEqual(["ES256"]);
    expect(fitting("ec-p384")).toEqual(["ES384"]);
    expect(fitting("rsa")).toEqual(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
  });

  it("are known by their exact names", () => {
    expect(svidAlgorithmOf("ES256")).toBe("ES256");
    for (const name of ["es256", "EdDSA", "none", "HS256", ""]) expect(svidAlgorithmOf(name)).toBeUndefined();
  });
});

describe("a proof of possession", async () => {
  const now = 1_700_000_000;
  const ec = generateEcKeyPair("ec-p256");
  const rsa = await generateRsaKeyPair(2048);
  const context: WitProofContext = {
    trustDomain: "example.org",
    caller: "spiffe://example.org/spire/agent/x",
    subject: "entry-1",
    publicKey: ec.spki,
    algorithm: "ES256",
  };
  const keyOf = (pkcs8: Uint8Array) =>
    createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });

  it.each<[SvidAlgorithm, { spki: Uint8Array; pkcs8: Uint8Array }]>([
    ["ES256", ec],
    ["ES384", generateEcKeyPair("ec-p384")],
    ["RS256", rsa],
    ["RS512", rsa],
    ["PS256", rsa],
    ["PS384", rsa],
  ])("by %s is accepted for two minutes", (algorithm, pair) => {
    const own = { ...context, algorithm, publicKey: pair.spki };
    const proof = makeWitProof(own, keyOf(pair.pkcs8), now);
    for (const at of [now - 120, now, now + 120]) expect(() => checkWitProof(own, proof, at)).not.toThrow();
    for (const at of [now - 121, now + 121]) {
      expect(() => checkWitProof(own, proof, at)).toThrowCode("INVALID_REQUEST", /not of this time/);
    }
  });

  it("counts for what it was made for and nothing else", () => {
    const proof = makeWitProof(context, keyOf(ec.pkcs8), now);
    for (const change of [
      { trustDomain: "other.org" },
      { caller: "" },
      { subject: "entry-2" },
      { publicKey: generateEcKeyPair("ec-p256").spki },
    ]) {
      expect(() => checkWitProof({ ...context, ...change }, proof, now)).toThrowCode(
        "INVALID_REQUEST",
        /does not verify/,
      );
    }
    expect(() => checkWitProof(context, proof.replace(/^\d+/, String(now + 1)), now)).toThrowCode(
      "INVALID_REQUEST",
      /does not verify/,
    );
    const other = makeWitProof(context, keyOf(generateEcKeyPair("ec-p256").pkcs8), now);
    expect(() => checkWitProof(context, other, now)).toThrowCode("INVALID_REQUEST", /does not verify/);
  });

  it.each(["", "-", "1.", ".x", "x.y", `${now}.=`, `${now}.AB`, `${now}.a\n`, `${"9".repeat(13)}.AAAA`])(
    "that is %j is refused",
    (proof) => {
      expect(() => checkWitProof(context, proof, now)).toThrowCode("INVALID_REQUEST");
    },
  );

  it("is not made of parts that could be taken for others", () => {
    const sly = { ...context, caller: `${context.caller}\nentry-1`, subject: "" };
    expect(() => makeWitProof(sly, keyOf(ec.pkcs8), now)).toThrowCode("INVALID_REQUEST");
  });
});
