import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import fc from "fast-check";
import { createLocalJWKSet, importJWK, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { generateRsaKeyPair, importPublicKey, keyTypeOf } from "../keys.ts";
import { parseJwkSet } from "./jwk-set.ts";
import { jwkSet, jwkToSpki, spkiToJwk } from "./jwk.ts";
import { parseJwtSvidInsecure, verifyJwtSvid } from "./jwt-svid-verify.ts";
import { assembleJwtSvid, ecdsaDerToP1363, type JwtSvidAlgorithm, jwtSvidSigningInput } from "./jwt-svid.ts";

const p256 = makeKey();
const p384 = makeKey("ec-p384");
const rsaPair = await generateRsaKeyPair(2048);
const rsaKey = createPrivateKey({ key: Buffer.from(rsaPair.pkcs8), format: "der", type: "pkcs8" });
const NOW = 1_790_000_000;
const claims = { sub: "spiffe://example.org/x", aud: ["a", "b"], exp: NOW + 300, iat: NOW };
const keys = new Map([
  ["p256", { publicKey: importPublicKey(p256.spki, "INTERNAL") }],
  ["p384", { publicKey: importPublicKey(p384.spki, "INTERNAL") }],
  ["rsa", { publicKey: importPublicKey(rsaPair.spki, "INTERNAL") }],
]);
const expected = { audience: "a", now: NOW };

const signers: Record<JwtSvidAlgorithm, (input: Uint8Array) => Uint8Array> = {
  ES256: (input) => ecdsaDerToP1363(p256.sign(input), 32),
  ES384: (input) => ecdsaDerToP1363(p384.sign(input), 48),
  RS256: (input) => sign("sha256", input, rsaKey),
};
const mint = (
  alg: JwtSvidAlgorithm,
  keyId: string,
  wanted: Partial<typeof claims> & { iss?: string; jti?: string } = {},
) => {
  const input = jwtSvidSigningInput({ keyId, alg, claims: { ...claims, ...wanted } });
  return assembleJwtSvid(input, signers[alg](input));
};
const base64url = (text: string | Uint8Array) => Buffer.from(text).toString("base64url");
const forge = (header: unknown, payload: unknown, key: KeyObject = p256.privateKey) => {
  const text = (part: unknown) => (typeof part === "string" ? part : JSON.stringify(part));
  const input = `${base64url(text(header))}.${base64url(text(payload))}`;
  return `${input}.${base64url(sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }))}`;
};
const header = { alg: "ES256", kid: "p256", typ: "JWT" };

describe("JWT-SVIDs made here", () => {
  it.each([
    ["ES256", "p256"],
    ["ES384", "p384"],
    ["RS256", "rsa"],
  ] as const)("verify with jose and with our own validator (%s)", async (alg, keyId) => {
    const token = mint(alg, keyId, { iss: "https://oidc.example.org", jti: "1" });
    const set = createLocalJWKSet(
      structuredClone(
        jwkSet([
          { keyId: "p256", spki: p256.spki },
          { keyId: "p384", spki: p384.spki },
          { keyId: "rsa", spki: rsaPair.spki },
        ]),
      ) as Parameters<typeof createLocalJWKSet>[0],
    );
    const theirs = await jwtVerify(token, set, { audience: "b", currentDate: new Date(NOW * 1000) });
    expect(theirs.protectedHeader).toEqual({ alg, kid: keyId, typ: "JWT" });
    expect(theirs.payload).toEqual({ ...claims, iss: "https://oidc.example.org", jti: "1" });
    const ours = await verifyJwtSvid(token, keys, expected);
    expect(ours).toMatchObject({
      spiffeId: claims.sub,
      audience: ["a", "b"],
      expiresAt: NOW + 300,
      issuedAt: NOW,
      keyId,
    });
    expect(parseJwtSvidInsecure(token)).toEqual(ours);
  });

  it("have numbers as plain integers and an array of audiences", () => {
    const [, payload = ""] = mint("ES256", "p256", { aud: ["one"] }).split(".");
    expect(Buffer.from(payload, "base64url").toString()).toBe(
      `{"sub":"spiffe://example.org/x","aud":["one"],"exp":${NOW + 300},"iat":${NOW}}`,
    );
  });

  it("need an audience and whole seconds", () => {
    const make = (wanted: Partial<typeof claims>) => () =>
      jwtSvidSigningInput({ keyId: "k", alg: "ES256", claims: { ...claims, ...wanted } });
    expect(make({ aud: [] })).toThrowCode("INVALID_AUDIENCE");
    expect(make({ aud: ["a", ""] })).toThrowCode("INVALID_AUDIENCE");
    expect(make({ exp: NOW + 0.5 })).toThrowCode("INTERNAL", /whole seconds/);
    expect(make({ iat: Number.NaN })).toThrowCode("INTERNAL");
  });
});

describe("verifyJwtSvid", () => {
  it.each<[string, string, RegExp]>([
    ["alg none", forge({ ...header, alg: "none" }, claims), /^alg must be one of/],
    ["alg EdDSA", forge({ ...header, alg: "EdDSA" }, claims), /^alg/],
    ["alg ES256K", forge({ ...header, alg: "ES256K" }, claims), /^alg/],
    ["no alg", forge({ kid: "p256" }, claims), /^alg/],
    ["an alg that names a member of objects", forge({ ...header, alg: "constructor" }, claims), /^alg/],
    ["a bad alg before a bad typ and no kid", forge({ alg: "none", typ: "x" }, "?"), /^alg/],
    ["alg of another curve", forge({ ...header, alg: "ES384" }, claims), /does not fit/],
    ["alg of another kind of key", forge({ ...header, alg: "RS256" }, claims), /does not fit/],
    ["an unknown kid", forge({ ...header, kid: "other" }, claims), /no JWT authority/],
    ["no kid", forge({ alg: "ES256" }, claims), /kid is missing/],
    ["an empty kid", forge({ ...header, kid: "" }, claims), /kid is missing/],
    ["a kid that is a number", forge({ ...header, kid: 1 }, claims), /kid is missing/],
    ["typ of a WIT-SVID", forge({ ...header, typ: "wit+jwt" }, claims), /typ must be/],
    ["typ in lower case", forge({ ...header, typ: "jwt" }, claims), /typ must be/],
    ["typ null", forge({ ...header, typ: null }, claims), /typ must be/],
    ["crit", forge({ ...header, crit: ["exp"] }, claims), /crit/],
    ["b64", forge({ ...header, b64: false }, claims), /b64/],
    ["another key's signature", forge(header, claims, makeKey().privateKey), /signature does not verify/],
    ["no sub", forge(header, { ...claims, sub: undefined }), /sub is missing/],
    ["a sub that is no SPIFFE ID", forge(header, { ...claims, sub: "https://example.org/x" }), /sub must be/],
    ["a sub without path", forge(header, { ...claims, sub: "spiffe://example.org" }), /sub must be/],
    ["no aud", forge(header, { ...claims, aud: undefined }), /aud is missing/],
    ["an empty list of audiences", forge(header, { ...claims, aud: [] }), /aud is missing/],
    ["an empty audience", forge(header, { ...claims, aud: "" }), /aud is missing/],
    ["an audience that is a number", forge(header, { ...claims, aud: ["a", 1] }), /aud is missing/],
    ["another audience", forge(header, { ...claims, aud: ["A", "ab", "a "] }), /another audience/],
    ["no exp", forge(header, { ...claims, exp: undefined }), /exp is missing/],
    ["exp as text", forge(header, { ...claims, exp: `${NOW + 300}` }), /exp must be whole/],
    ["exp null", forge(header, { ...claims, exp: null }), /exp must be whole/],
    ["exp in fractions", forge(header, { ...claims, exp: NOW + 0.5 }), /exp must be whole/],
    ["exp without end", forge(header, `{"sub":"spiffe://a/b","aud":"a","exp":1e999}`), /exp must be whole/],
    ["exp now", forge(header, { ...claims, exp: NOW }), /expired/],
    ["nbf in the future", forge(header, { ...claims, nbf: NOW + 1 }), /not valid yet/],
    ["nbf as text", forge(header, { ...claims, nbf: "1" }), /nbf must be whole/],
    ["iat in the future", forge(header, { ...claims, iat: NOW + 1 }), /in the future/],
    [
      "a claim twice",
      forge(header, `{"sub":"spiffe://a/b","aud":"a","exp":${NOW + 9},"aud":"b"}`),
      /payload has a member twice/,
    ],
    [
      "a claim twice, once in disguise",
      forge(header, `{"sub":"spiffe://a/b","aud":"a","exp":${NOW + 9},"\\u0061ud":"b"}`),
      /payload has a member twice/,
    ],
    [
      "a nested member twice",
      forge(header, `{"x":[{"y":1,"z":{},"y":2}],"aud":"a"}`),
      /payload has a member twice/,
    ],
    [
      "a header member twice",
      forge(`{"alg":"ES256","kid":"p256","kid":"p384"}`, claims),
      /header has a member twice/,
    ],
    ["a payload that is a list", forge(header, []), /payload is not a JSON object/],
    ["a header that is no JSON", forge("{", claims), /header is not JSON/],
    ["a byte order mark", forge(`\uFEFF${JSON.stringify(header)}`, claims), /header is not JSON/],
    ["nothing", "", /three parts/],
    ["two parts", "e30.e30", /three parts/],
    ["four parts", `${forge(header, claims)}.`, /three parts/],
    ["a JWS in JSON serialisation", JSON.stringify({ payload: "e30", signatures: [] }), /three parts/],
    ["padding", forge(header, claims).replace(/\./, "=."), /header is not unpadded base64url/],
    ["an empty signature", forge(header, claims).replace(/[^.]*$/, ""), /signature is empty/],
    ["ten million characters", "a".repeat(10_000_000), /at most 16384/],
  ])("refuses %s", async (_, token, detail) => {
    await expect(verifyJwtSvid(token, keys, expected)).rejects.toThrowCode("INVALID_JWT_SVID", detail);
  });

  it("refuses HS256 keyed with the public key", async () => {
    const input = `${base64url(JSON.stringify({ ...header, alg: "HS256" }))}.${base64url(JSON.stringify(claims))}`;
    const token = `${input}.${createHmac("sha256", p256.spki).update(input).digest("base64url")}`;
    await expect(verifyJwtSvid(token, keys, expected)).rejects.toThrowCode("INVALID_JWT_SVID", /^alg/);
  });

  it("accepts an audience that is text, no typ, typ JOSE and claims it does not know", async () => {
    const token = forge({ alg: "ES256", kid: "p256" }, { ...claims, aud: "a", extra: { deep: [true] } });
    expect((await verifyJwtSvid(token, keys, expected)).claims["extra"]).toEqual({ deep: [true] });
    await verifyJwtSvid(forge({ ...header, typ: "JOSE" }, claims), keys, expected);
  });

  it("allows for the leeway given and no more", async () => {
    const token = mint("ES256", "p256");
    const at = (now: number) => verifyJwtSvid(token, keys, { audience: "a", now, leewaySeconds: 60 });
    await at(NOW - 60);
    await at(NOW + 359);
    await expect(at(NOW + 360)).rejects.toThrowCode("INVALID_JWT_SVID", /expired/);
    await expect(at(NOW - 61)).rejects.toThrowCode("INVALID_JWT_SVID", /future/);
  });

  it("lets nothing in by a leeway that is no number", async () => {
    const at = (now: number) =>
      verifyJwtSvid(mint("ES256", "p256"), keys, { audience: "a", now, leewaySeconds: Number.NaN });
    for (const now of [NOW, NOW + 10_000, NOW - 10_000])
      await expect(at(now)).rejects.toThrowCode("INVALID_JWT_SVID");
  });

  it("refuses a token of which any one character was changed, without repeating it", async () => {
    const token = mint("ES256", "p256");
    for (let at = 0; at < token.length; at++) {
      const changed = token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
      const error: unknown = await verifyJwtSvid(changed, keys, expected).catch((thrown: unknown) => thrown);
      expect(error, `character ${at}`).toHaveProperty("code", "INVALID_JWT_SVID");
      for (const part of changed.split("."))
        expect(String(error)).not.toContain(part.slice(0, 12) || "no part");
    }
  });
});

describe("JWK", () => {
  it.each([
    ["P-256", p256.spki, ["kty", "kid", "crv", "x", "y"]],
    ["P-384", p384.spki, ["kty", "kid", "crv", "x", "y"]],
    ["RSA", rsaPair.spki, ["kty", "kid", "n", "e"]],
  ])("of a %s key has just the members needed, and jose reads the same key", async (_, spki, members) => {
    const jwk = spkiToJwk(spki, { keyId: "k" });
    expect(Object.keys(jwk)).toEqual(members);
    expect(spkiToJwk(spki, { keyId: "k", use: "jwt-svid" }).use).toBe("jwt-svid");
    expect(Buffer.from(jwkToSpki(jwk)).equals(spki)).toBe(true);
    const theirs = await importJWK(
      { ...jwk },
      jwk.kty === "RSA" ? "RS256" : jwk.crv === "P-256" ? "ES256" : "ES384",
    );
    const exported = await crypto.subtle.exportKey("spki", theirs);
    expect(Buffer.from(new Uint8Array(exported)).equals(spki)).toBe(true);
  });

  it("of a P-521 key, which only somebody else's authority may have, verifies ES512", async () => {
    const pair = generateKeyPairSync("ec", { namedCurve: "P-521" });
    const spki = pair.publicKey.export({ type: "spki", format: "der" });
    const jwk = spkiToJwk(spki, { keyId: "k" });
    expect(jwk).toMatchObject({ kty: "EC", crv: "P-521" });
    expect(Buffer.from(jwkToSpki(jwk)).equals(spki)).toBe(true);
    const input = `${base64url('{"alg":"ES512","kid":"k"}')}.${base64url(JSON.stringify(claims))}`;
    const signature = sign("sha512", Buffer.from(input), {
      key: pair.privateKey,
      dsaEncoding: "ieee-p1363",
    });
    const token = `${input}.${base64url(signature)}`;
    const set = parseJwkSet(Buffer.from(JSON.stringify({ keys: [jwk] })), "jwt-svid");
    expect((await verifyJwtSvid(token, set, expected)).spiffeId).toBe(claims.sub);
    expect(() => keyTypeOf(spki, "INVALID_CSR")).toThrowCode("INVALID_CSR", /P-521/);
  });

  const good = spkiToJwk(p256.spki) as { readonly x: string; readonly y: string };
  it.each<[string, unknown, RegExp]>([
    ["a private key", { ...good, d: "AA" }, /private/],
    ["no object", "EC", /object/],
    ["another kind", { kty: "OKP", crv: "Ed25519", x: good.x }, /kty/],
    ["another curve", { ...good, crv: "secp256k1" }, /crv/],
    ["a short coordinate", { ...good, x: "AA" }, /x must be 32 octets/],
    ["a padded coordinate", { ...good, x: `${good.x}=` }, /base64url/],
    ["a point off its curve", { ...good, x: good.y, y: good.x }, /on its curve/],
    ["a small RSA key", { kty: "RSA", n: base64url(Buffer.alloc(128, 0xff)), e: "AQAB" }, /RSA-1024/],
    ["no modulus", { kty: "RSA", e: "AQAB" }, /member n/],
  ])("is refused with %s", (_, jwk, detail) => {
    expect(() => jwkToSpki(jwk)).toThrowCode("INVALID_BUNDLE", detail);
  });
});

describe("parseJwkSet", () => {
  const set = (keys: unknown) => Buffer.from(JSON.stringify({ keys }));
  const jwk = spkiToJwk(p256.spki, { keyId: "k" });

  it("leaves out what it cannot use and keeps the rest", () => {
    const keys = [
      { kty: "OKP", crv: "Ed25519", x: "AA", kid: "okp" },
      { kty: "EC", crv: "secp256k1", x: "AA", y: "AA", kid: "k1" },
      { ...jwk, kid: "private", d: "AA" },
      { ...jwk, kid: "x509", use: "x509-svid" },
      { ...jwk, kid: "wit", use: "wit-svid" },
      { ...jwk, kid: undefined },
      jwk,
      { ...jwk, kid: "said", use: "jwt-svid" },
    ];
    expect([...parseJwkSet(set(keys), "jwt-svid").keys()]).toEqual(["k", "said"]);
    expect([...parseJwkSet(set(keys), "wit-svid").keys()]).toEqual(["wit", "k"]);
    expect(parseJwkSet(set([]), "jwt-svid").size).toBe(0);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ["no JSON", Buffer.from("x"), /not JSON/],
    ["no keys", Buffer.from("{}"), /array keys/],
    ["keys that are no objects", set([1]), /objects/],
    ["a kid twice", set([jwk, jwk]), /twice/],
    ["a member twice", Buffer.from('{"keys":[],"keys":[]}'), /twice/],
    ["more bytes than any bundle has", Buffer.alloc(4 * 1024 * 1024 + 1), /larger/],
  ])("refuses %s", (_, bytes, detail) => {
    expect(() => parseJwkSet(bytes, "jwt-svid")).toThrowCode("INVALID_BUNDLE", detail);
  });
});

describe("ecdsaDerToP1363", () => {
  it("makes signatures that verify as R ‖ S", () => {
    const publicKey = importPublicKey(p256.spki, "INTERNAL");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (message) => {
        const joined = ecdsaDerToP1363(p256.sign(message), 32);
        expect(joined).toHaveLength(64);
        expect(verify("sha256", message, { key: publicKey, dsaEncoding: "ieee-p1363" }, joined)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ["nothing", ""],
    ["a negative number", "3006020180020101"],
    ["a number too large for the curve", `3026022101${"00".repeat(32)}020101`],
    ["zero", "3006020100020101"],
    ["three numbers", "3009020101020101020101"],
    ["trailing bytes", "300602010102010100"],
  ])("refuses %s", (_, hex) => {
    expect(() => ecdsaDerToP1363(Buffer.from(hex, "hex"), 32)).toThrowCode("KEY_UNAVAILABLE");
  });
});
