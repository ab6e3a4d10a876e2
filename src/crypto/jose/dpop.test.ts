import { createPrivateKey, type KeyObject } from "node:crypto";
import fc from "fast-check";
import { calculateJwkThumbprint, exportJWK, type JWK, SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { makeJwk, makeToken } from "../../../test/fakes/jose-factory.ts";
import { type FactoryKey, type FactoryKeyKind, makeFactoryKey } from "../../../test/fakes/svid-factory.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { generateEcKeyPair, generateRsaKeyPair } from "../keys.ts";
import { accessTokenHash, createDpopProof, type DpopProofCheck, verifyDpopProof } from "./dpop.ts";
import { jwkThumbprint, spkiThumbprint, strictJwkToSpki } from "./thumbprint.ts";

const NOW = 1_790_000_000;
const URL = "https://assay.example/oauth2/token";
const key = makeFactoryKey("ec-p256");
const jwk = makeJwk(key);
const good = {
  header: { typ: "dpop+jwt", alg: "ES256", jwk },
  payload: { jti: "j-1", htm: "POST", htu: URL, iat: NOW },
};

const make = (header: object = {}, payload: object = {}, signAs?: string, by: FactoryKey = key) =>
  makeToken({
    key: by,
    header: { ...good.header, ...header },
    payload: { ...good.payload, ...payload },
    ...(signAs === undefined ? {} : { signAs }),
  });
const verify = (proof: string, change: Partial<DpopProofCheck> = {}) =>
  verifyDpopProof({ proof, method: "POST", url: URL, nonceIsGood: undefined, now: NOW, ...change });
const refused = (proof: string, detail: RegExp, change: Partial<DpopProofCheck> = {}) =>
  expect(verify(proof, change)).rejects.toThrowCode("INVALID_DPOP_PROOF", detail);

describe("verifyDpopProof (RFC 9449 §4.3)", () => {
  it("says which key was proved, and by which proof", async () => {
    const facts = await verify(make());
    expect(facts).toMatchObject({ jti: "j-1", issuedAt: NOW, publicKey: jwk });
    expect(facts.jkt).toBe(await calculateJwkThumbprint(jwk as JWK));
  });

  it.each([
    ["ES256", "ec-p256"],
    ["ES384", "ec-p384"],
    ["RS256", "rsa-2048"],
    ["PS256", "rsa-2048"],
  ] as const)("takes %s", async (alg, kind) => {
    const by = makeFactoryKey(kind);
    await expect(verify(make({ alg, jwk: makeJwk(by) }, {}, alg, by))).resolves.toMatchObject({ jti: "j-1" });
  });

  it("takes what another library signs", async () => {
    const proof = await new SignJWT({ jti: "other", htm: "POST", htu: URL })
      .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk: await exportJWK(key.publicKey) })
      .setIssuedAt(NOW)
      .sign(key.privateKey);
    expect(await verify(proof)).toMatchObject({ jti: "other" });
  });

  // The typ and algorithm of the proof.
  it.each<[string, object, RegExp, string?]>([
    ["no typ", { typ: undefined }, /typ must be dpop\+jwt/],
    ["the typ of a JWT-SVID", { typ: "JWT" }, /typ/],
    ["a typ in other letters", { typ: "DPoP+JWT" }, /typ/],
    ["no algorithm", { alg: "none" }, /alg must be one of ES256, ES384, RS256, PS256/],
    ["an algorithm of shared secrets", { alg: "HS256" }, /alg/],
    ["an algorithm that is not offered", { alg: "ES512" }, /alg/],
    ["an algorithm of another key", { alg: "ES384" }, /alg does not fit/, "ES256"],
    ["an algorithm of another kind of key", { alg: "RS256" }, /alg does not fit/, "ES256"],
    ["critical headers", { crit: ["x"], x: 1 }, /crit/],
    ["no key", { jwk: undefined }, /JWK must be an object/],
    ["a key that is a text", { jwk: "x" }, /JWK must be an object/],
    ["a shared key", { jwk: { kty: "oct", k: "AAAA" } }, /kty/],
    ["a private key", { jwk: { ...jwk, d: "AAAA" } }, /private member d/],
    ["another private member", { jwk: { ...jwk, qi: "AAAA" } }, /private member qi/],
    ["a key that is not on its curve", { jwk: { ...jwk, x: jwk["y"], y: jwk["x"] } }, /not on its curve/],
    ["a key to encrypt with", { jwk: { ...jwk, use: "enc" } }, /use must be sig/],
    ["a key for another algorithm", { jwk: { ...jwk, alg: "ES384" } }, /alg must be that of the header/],
    ["somebody else's key", { jwk: makeJwk(makeFactoryKey("ec-p256")) }, /signature does not verify/],
  ])("refuses a proof with %s", async (_, header, detail, signAs) => {
    await refused(make(header, {}, signAs ?? "ES256"), detail);
  });

  it.each<[string, object, RegExp]>([
    ["no jti", { jti: undefined }, /jti/],
    ["an empty jti", { jti: "" }, /jti/],
    ["a jti that is too long", { jti: "x".repeat(257) }, /jti must be 1 to 256/],
    ["a jti that is a number", { jti: 1 }, /jti/],
    ["a jti with a line feed", { jti: "a\nb" }, /jti/],
    ["no htm", { htm: undefined }, /htm/],
    ["another method", { htm: "GET" }, /htm must be/],
    ["the method in other letters", { htm: "post" }, /htm/],
    ["no htu", { htu: undefined }, /htu/],
    ["another path", { htu: "https://assay.example/v1/task" }, /htu/],
    ["another host", { htu: "https://assay.example.evil/oauth2/token" }, /htu/],
    ["another scheme", { htu: "http://assay.example/oauth2/token" }, /htu/],
    ["a path that is deeper", { htu: `${URL}/x` }, /htu/],
    ["an escaped slash", { htu: "https://assay.example/oauth2%2Ftoken" }, /htu/],
    ["a backslash", { htu: "https:\\\\assay.example\\oauth2\\token" }, /htu/],
    ["user information", { htu: "https://x@assay.example/oauth2/token" }, /htu/],
    ["a list of URIs", { htu: [URL] }, /htu/],
    ["no iat", { iat: undefined }, /iat is missing/],
    ["an iat that is a text", { iat: `${NOW}` }, /iat must be whole seconds/],
    ["an iat in parts of a second", { iat: NOW + 0.5 }, /iat must be whole seconds/],
    ["an iat of a minute and a second ago", { iat: NOW - 61 }, /too old/],
    ["an iat in six seconds", { iat: NOW + 6 }, /from the future/],
    ["an exp that is over", { exp: NOW - 5 }, /too old/],
    ["an nbf in the future", { nbf: NOW + 6 }, /from the future/],
    ["an ath and no access token", { ath: accessTokenHash("t") }, /ath/],
  ])("refuses a proof with %s", async (_, payload, detail) => {
    await refused(make({}, payload), detail);
  });

  it("takes a proof up to a minute old and five seconds ahead, or as the caller says", async () => {
    for (const iat of [NOW - 60, NOW + 5]) await verify(make({}, { iat }));
    await verify(make({}, { iat: NOW - 300 }), { maxAgeSeconds: 300 });
    await refused(make({}, { iat: NOW - 11 }), /too old/, { maxAgeSeconds: 10 });
    await refused(make({}, { iat: NOW + 1 }), /future/, { leewaySeconds: 0 });
    for (const change of [
      { maxAgeSeconds: Number.NaN },
      { leewaySeconds: Number.NaN },
      { now: Number.NaN },
    ]) {
      await refused(make(), /proof is/, change);
    }
  });

  it("takes every spelling of the request's URI, without query and fragment", async () => {
    for (const htu of [
      "HTTPS://ASSAY.example:443/oauth2/token",
      `${URL}?a=b`,
      `${URL}#x`,
      "https://assay.example/a/../oauth2/%74oken",
    ]) {
      await verify(make({}, { htu }));
    }
    await verify(make(), { url: `${URL}?audience=x` });
    await refused(make(), /htu/, { url: "not a URI" });
    await refused(make({}, { htu: "not a URI" }), /htu/, { url: "not a URI" });
  });

  it("is bound to the access token of the request", async () => {
    // The example of RFC 9449 §7.1.
    const accessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    await verify(make({}, { ath: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" }), { accessToken });
    await refused(make(), /ath must be/, { accessToken });
    await refused(make({}, { ath: accessTokenHash("other") }), /ath/, { accessToken });
    await refused(make({}, { ath: "" }), /ath/);
  });

  it("must hold a nonce of the server where one is asked for", async () => {
    const nonceIsGood = (nonce: string) => nonce === "mine";
    await verify(make({}, { nonce: "mine" }), { nonceIsGood });
    for (const payload of [{}, { nonce: "theirs" }]) {
      await expect(verify(make({}, payload), { nonceIsGood })).rejects.toThrowCode("DPOP_NONCE_REQUIRED");
    }
    const never = (): boolean => expect.unreachable("asked for a nonce that cannot be one");
    for (const nonce of [1, "", "a b", "x".repeat(513)]) {
      await refused(make({}, { nonce }), /nonce is malformed/, { nonceIsGood: never });
    }
    // Nobody learns a nonce by a proof that is not good.
    await refused(make({}, { htm: "GET" }), /htm/, { nonceIsGood: never });
  });

  it("refuses what can be read in two ways, and more than 8 KiB", async () => {
    const twice = JSON.stringify(good.payload).replace("{", '{"htm":"GET",');
    await refused(makeToken({ key, header: good.header, payload: twice }), /payload has a member twice/);
    const header = JSON.stringify(good.header).replace('"kty"', '"x":"","kty"');
    await refused(makeToken({ key, header, payload: good.payload, signAs: "ES256" }), /member twice/);
    await refused(`${make()}=`, /base64url/);
    await refused(` ${make()}`, /base64url/);
    await refused(`${make()}.x`, /compact/);
    await refused(make({}, { x: "y".repeat(8192) }), /at most 8192 characters/);
  });

  it("never tells anything of the proof", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 33, max: 126 }), async (at, octet) => {
        const proof = make().split("");
        const place = at % proof.length;
        if (proof[place] === String.fromCharCode(octet)) return;
        proof[place] = String.fromCharCode(octet);
        const error = await verify(proof.join("")).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(AssayError);
        expect((error as AssayError).code).toBe("INVALID_DPOP_PROOF");
        expect((error as AssayError).detail).not.toMatch(/j-1|[\w-]{20}/);
      }),
      { numRuns: 300 },
    );
  });
});

describe("createDpopProof", () => {
  const request = { method: "POST", url: `${URL}?x#y`, jti: "own", now: NOW };
  const privateKeyOf = (pkcs8: Uint8Array) =>
    createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });

  it("makes a proof that verifies, with everything that was asked for", async () => {
    const proof = createDpopProof(key.privateKey, { ...request, nonce: "n", accessToken: "t" });
    const check = { accessToken: "t", nonceIsGood: (nonce: string) => nonce === "n" };
    expect(await verify(proof, check)).toMatchObject({ jti: "own", issuedAt: NOW });
    const [header, payload] = proof.split(".").slice(0, 2).map(read);
    expect(header).toEqual({ typ: "dpop+jwt", alg: "ES256", jwk });
    expect(payload).toEqual({
      jti: "own",
      htm: "POST",
      htu: URL,
      iat: NOW,
      ath: accessTokenHash("t"),
      nonce: "n",
    });
  });

  it("leaves out what there is not", () => {
    const payload = read(createDpopProof(key.privateKey, request).split(".")[1] ?? "");
    expect(Object.keys(payload)).toEqual(["jti", "htm", "htu", "iat"]);
  });

  it("signs by what the key can", async () => {
    const keys: readonly [string, KeyObject][] = [
      ["ES384", privateKeyOf(generateEcKeyPair("ec-p384").pkcs8)],
      ["PS256", privateKeyOf((await generateRsaKeyPair(2048)).pkcs8)],
    ];
    for (const [alg, one] of keys) {
      const proof = createDpopProof(one, request);
      expect(read(proof.split(".")[0] ?? "")).toMatchObject({ alg });
      await verify(proof);
    }
  });

  it("refuses other keys and other URIs", () => {
    for (const kind of ["ec-p521", "ed25519"] as const satisfies readonly FactoryKeyKind[]) {
      expect(() => createDpopProof(makeFactoryKey(kind).privateKey, request)).toThrowCode("KEY_UNAVAILABLE");
    }
    expect(() => createDpopProof(key.publicKey, request)).toThrowCode("KEY_UNAVAILABLE");
    expect(() => createDpopProof(key.privateKey, { ...request, url: "ws://a" })).toThrowCode("INVALID_URL");
  });
});

describe("jwkThumbprint (RFC 7638)", () => {
  // The example of RFC 7638 §3.1.
  const example = {
    kty: "RSA",
    n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    e: "AQAB",
    alg: "RS256",
    kid: "2011-04-29",
  };

  it("is that of the standards", () => {
    expect(jwkThumbprint(example)).toBe("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 9449 §4.1 and §6.1.
    const x = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs";
    const y = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA";
    expect(jwkThumbprint({ kty: "EC", crv: "P-256", x, y })).toBe(
      "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
    );
  });

  let keys: readonly FactoryKey[];
  beforeAll(() => {
    keys = (["ec-p256", "ec-p384", "ec-p521", "rsa-2048"] as const).map((kind) => makeFactoryKey(kind));
  });

  it("is what another library makes of the same key, by whichever way it is read", async () => {
    for (const one of keys) {
      const members = makeJwk(one, { kid: "k", use: "sig" });
      const expected = await calculateJwkThumbprint(members);
      expect(jwkThumbprint(members)).toBe(expected);
      expect(spkiThumbprint(one.publicKey.export({ format: "der", type: "spki" }))).toBe(expected);
    }
  });

  it("is one for each key: a second spelling is refused", () => {
    const n = Buffer.concat([Buffer.of(0), Buffer.from(example.n, "base64url")]).toString("base64url");
    expect(() => jwkThumbprint({ ...example, n })).toThrowCode("INVALID_BUNDLE", /n has leading zero/);
    expect(() => strictJwkToSpki({ ...example, e: "AAEAAQ" }, "INVALID_CSR")).toThrowCode(
      "INVALID_CSR",
      /e has/,
    );
    expect(() => jwkThumbprint({ ...example, n: `${example.n}=` })).toThrowCode(
      "INVALID_BUNDLE",
      /base64url/,
    );
  });
});

function read(part: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
}
