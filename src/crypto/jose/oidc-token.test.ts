import { describe, expect, it, vi } from "vitest";
import { CI_AUDIENCE, CI_NOW, ciClaims, CiIssuer, jwksOf } from "../../../test/fakes/ci-tokens.ts";
import { makeJwk, makeToken } from "../../../test/fakes/jose-factory.ts";
import { makeFactoryKey } from "../../../test/fakes/svid-factory.ts";
import { parseOidcKeys } from "./oidc-token-keys.ts";
import { claimedIssuer, type OidcTokenExpectations, verifyOidcToken } from "./oidc-token.ts";

const rsa = new CiIssuer("rsa-2048");
const p256 = new CiIssuer("ec-p256", "ci-key-2");
const p384 = new CiIssuer("ec-p384", "ci-key-3");
const KEYS = parseOidcKeys(jwksOf(rsa.jwk(), p256.jwk(), p384.jwk()));
const ISSUER = "https://agent.buildkite.com";
const GOOD = ciClaims("buildkite");

function verify(token: string, changes: Partial<OidcTokenExpectations> = {}) {
  return verifyOidcToken(token, {
    issuer: ISSUER,
    audience: CI_AUDIENCE,
    algorithms: ["RS256", "PS256", "ES256", "ES384"],
    now: CI_NOW,
    maxAge: 600,
    maxLifetime: 3600,
    keysFor: async (keyId) => KEYS.get(keyId) ?? [],
    ...changes,
  });
}

describe("verifying an ID token", () => {
  it.each([rsa, p256, p384])("takes one signed by an allowed algorithm: $algorithm", async (issuer) => {
    const facts = await verify(issuer.token(GOOD));
    expect(facts).toMatchObject({
      issuedAt: CI_NOW,
      expiresAt: CI_NOW + 300,
      claims: { job_id: GOOD["job_id"] },
    });
    expect(facts.replayKey).toMatch(/^[0-9a-f]{64}$/);
  });

  it("takes PS256 by an RSA key that names no algorithm", async () => {
    const keys = parseOidcKeys(jwksOf(rsa.jwk({ alg: undefined })));
    const token = rsa.token(GOOD, { alg: "PS256" });
    await expect(verify(token, { keysFor: async (id) => keys.get(id) ?? [] })).resolves.toBeDefined();
    await expect(verify(token)).rejects.toThrowCode("ATTESTATION_FAILED", /alg does not fit/);
  });

  it.each([
    ["no typ", rsa.token(GOOD, { typ: undefined })],
    ["one audience in a list", rsa.token({ ...GOOD, aud: [CI_AUDIENCE] })],
    ["nbf long before iat", rsa.token({ ...GOOD, nbf: CI_NOW - 600 })],
    ["dates with a fraction", rsa.token({ ...GOOD, iat: CI_NOW + 0.5, exp: CI_NOW + 60.5 })],
    ["a clock that is 30 s ahead", rsa.token({ ...GOOD, iat: CI_NOW + 30, nbf: CI_NOW + 30 })],
    ["x5t, which GitHub has", rsa.token(GOOD, { x5t: "abc" })],
  ])("takes a token with %s", async (_what, token) => {
    await expect(verify(token)).resolves.toBeDefined();
  });

  it.each<[string, string, RegExp]>([
    ["alg none", rsa.token(GOOD, { alg: "none" }), /alg must be/],
    ["alg none and no signature", rsa.token(GOOD, { alg: "none" }, "none"), /alg must be/],
    ["HS256 with the public key", rsa.token(GOOD, { alg: "HS256" }), /alg must be/],
    ["RS512", rsa.token(GOOD, { alg: "RS512" }), /alg must be/],
    ["alg in other letters", rsa.token(GOOD, { alg: "rs256" }, "RS256"), /alg must be/],
    ["another alg than the key's", rsa.token(GOOD, { alg: "ES256" }, "RS256"), /alg does not fit/],
    ["no kid", rsa.token(GOOD, { kid: undefined }), /kid is missing/],
    ["an unknown kid", rsa.token(GOOD, { kid: "x" }), /alg does not fit/],
    ["the kid of another key", rsa.token(GOOD, { kid: "ci-key-2" }), /alg does not fit/],
    ["an embedded jwk", rsa.token(GOOD, { jwk: rsa.jwk() }), /header must not have jwk/],
    ["jku", rsa.token(GOOD, { jku: "https://evil.example/jwks" }), /header must not have jku/],
    ["x5u", rsa.token(GOOD, { x5u: "https://evil.example/x" }), /header must not have x5u/],
    ["x5c", rsa.token(GOOD, { x5c: [] }), /header must not have x5c/],
    ["crit", rsa.token(GOOD, { crit: ["x"] }), /neither crit nor b64/],
    ["b64", rsa.token(GOOD, { b64: false }), /neither crit nor b64/],
    ["typ of an access token", rsa.token(GOOD, { typ: "at+jwt" }), /typ must be JWT/],
    ["typ of a proof", rsa.token(GOOD, { typ: "dpop+jwt" }), /typ must be JWT/],
    ["typ of a WIT-SVID", rsa.token(GOOD, { typ: "wit+jwt" }), /typ must be JWT/],
    ["typ in other letters", rsa.token(GOOD, { typ: "jwt" }), /typ must be JWT/],
    ["a foreign issuer", rsa.token({ ...GOOD, iss: "https://evil.example" }), /iss is not/],
    ["an issuer in other letters", rsa.token({ ...GOOD, iss: "https://agent.Buildkite.com" }), /iss is not/],
    ["an issuer with a slash", rsa.token({ ...GOOD, iss: `${ISSUER}/` }), /iss is not/],
    ["an issuer with a port", rsa.token({ ...GOOD, iss: `${ISSUER}:443` }), /iss is not/],
    ["an issuer of look-alike letters", rsa.token({ ...GOOD, iss: ISSUER.replace("a", "а") }), /iss is not/],
    ["no issuer", rsa.token({ ...GOOD, iss: undefined }), /iss is not/],
    ["a list as issuer", rsa.token({ ...GOOD, iss: [ISSUER] }), /iss is not/],
    ["two audiences", rsa.token({ ...GOOD, aud: [CI_AUDIENCE, "https://other.example"] }), /exactly one/],
    ["the audience twice", rsa.token({ ...GOOD, aud: [CI_AUDIENCE, CI_AUDIENCE] }), /exactly one/],
    ["no audience", rsa.token({ ...GOOD, aud: [] }), /exactly one/],
    ["an object as audience", rsa.token({ ...GOOD, aud: { 0: CI_AUDIENCE, length: 1 } }), /exactly one/],
    ["the vendor's audience", rsa.token({ ...GOOD, aud: "https://buildkite.com/acme" }), /aud is not/],
    ["an audience with a slash", rsa.token({ ...GOOD, aud: `${CI_AUDIENCE}/` }), /aud is not/],
    ["no exp", rsa.token({ ...GOOD, exp: undefined }), /exp is missing/],
    ["no iat", rsa.token({ ...GOOD, iat: undefined }), /iat is missing/],
    ["exp as text", rsa.token({ ...GOOD, exp: "4000000000" }), /exp must be seconds/],
    ["exp without end", rsa.token('{"iss":"https://agent.buildkite.com","exp":1e999}'), /aud must/],
    ["exp before iat", rsa.token({ ...GOOD, exp: CI_NOW - 1 }), /later than iat/],
    ["an expiry that has passed", rsa.token({ ...GOOD, iat: CI_NOW - 100, exp: CI_NOW - 30 }), /expired/],
    ["an issue in the future", rsa.token({ ...GOOD, iat: CI_NOW + 31 }), /in the future/],
    ["nbf in the future", rsa.token({ ...GOOD, nbf: CI_NOW + 31 }), /not valid yet/],
    ["an age above the cap", rsa.token({ ...GOOD, iat: CI_NOW - 631 }), /older than 600 s/],
    ["a day to live", rsa.token({ ...GOOD, exp: CI_NOW + 86_400 }), /longer than 3600 s/],
    ["jti that is no text", rsa.token({ ...GOOD, jti: 1 }), /jti must be/],
    ["an empty jti", rsa.token({ ...GOOD, jti: "" }), /jti must be/],
    ["a claim twice", rsa.token(JSON.stringify(GOOD).replace("{", '{"iss":"https://x",')), /twice/],
    [
      "a claim twice by an escape",
      rsa.token(JSON.stringify(GOOD).replace("{", '{"\\u0069ss":"x",')),
      /twice/,
    ],
    ["20,001 characters", rsa.token({ ...GOOD, x: "x".repeat(20_001) }), /at most 20000/],
    ["a flipped bit", flipped(rsa.token(GOOD)), /signature does not verify/],
    ["no dots", "x", /three parts/],
    ["a padded part", `${rsa.token(GOOD)}=`, /unpadded/],
  ])("refuses a token with %s", async (_what, token, detail) => {
    await expect(verify(token)).rejects.toThrowCode("ATTESTATION_FAILED", detail);
  });

  it("refuses a good signature by a stranger's key of the same kid", async () => {
    const stranger = new CiIssuer("ec-p384", "ci-key-1");
    const key = makeFactoryKey("rsa-2048", "a stranger");
    const token = makeToken({ key, header: { alg: "RS256", kid: "ci-key-1" }, payload: GOOD });
    await expect(verify(token)).rejects.toThrowCode("ATTESTATION_FAILED", /signature does not verify/);
    await expect(verify(stranger.token(GOOD))).rejects.toThrowCode("ATTESTATION_FAILED", /alg does not fit/);
  });

  it("reads a token of 20,000 characters and no bound that is no number", async () => {
    const bare = rsa.token({ ...GOOD, x: "" });
    const room = Math.floor(((20_000 - bare.length) * 3) / 4);
    const token = rsa.token({ ...GOOD, x: "x".repeat(room - 1) });
    expect(token.length).toBeGreaterThan(19_990);
    await expect(verify(token)).resolves.toBeDefined();
    await expect(verify(token, { maxAge: Number.NaN })).rejects.toThrowCode("ATTESTATION_FAILED");
    await expect(verify(token, { maxLifetime: Number.NaN })).rejects.toThrowCode("ATTESTATION_FAILED");
    await expect(verify(token, { now: Number.NaN })).rejects.toThrowCode("ATTESTATION_FAILED");
  });

  it("refuses an algorithm that this issuer is not allowed", async () => {
    await expect(verify(p256.token(GOOD), { algorithms: ["RS256"] })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /alg must be RS256$/,
    );
  });

  it("asks for no key where anything else is wrong", async () => {
    const keysFor = vi.fn(async () => []);
    const bad = [
      { iss: "https://x" },
      { aud: "x" },
      { exp: CI_NOW - 60, iat: CI_NOW - 90 },
      { iat: CI_NOW - 700 },
    ];
    for (const change of bad) {
      await expect(verify(rsa.token({ ...GOOD, ...change }), { keysFor })).rejects.toThrow();
    }
    await expect(verify(rsa.token(GOOD, { alg: "none" }), { keysFor })).rejects.toThrow();
    expect(keysFor).not.toHaveBeenCalled();
  });
});

describe("the name of a token", () => {
  it("is the same for an ECDSA signature that was written in the other way", async () => {
    const token = p256.token(GOOD);
    const other = malleated(token);
    expect(other).not.toBe(token);
    expect((await verify(other)).replayKey).toBe((await verify(token)).replayKey);
  });

  it("is another for each token without jti, and for each jti and issuer", async () => {
    const names = await Promise.all(
      [{}, { iat: CI_NOW - 1 }, { jti: "a" }, { jti: "b" }].map(
        async (change) => (await verify(rsa.token({ ...GOOD, ...change }))).replayKey,
      ),
    );
    const other = rsa.token({ ...GOOD, jti: "a", iss: "https://b.example" });
    names.push((await verify(other, { issuer: "https://b.example" })).replayKey);
    expect(new Set(names).size).toBe(5);
  });

  it("is the same for two tokens of one jti", async () => {
    const one = await verify(rsa.token({ ...GOOD, jti: "a" }));
    const two = await verify(rsa.token({ ...GOOD, jti: "a", iat: CI_NOW - 5 }));
    expect(one.replayKey).toBe(two.replayKey);
  });
});

describe("the issuer that a token claims", () => {
  it("is read without a key, and from nothing that could not be verified", () => {
    expect(claimedIssuer(rsa.token(GOOD))).toBe(ISSUER);
    for (const token of ["", "a.b.c", rsa.token({ iss: 1 }), rsa.token(GOOD, { alg: "none" })]) {
      expect(claimedIssuer(token)).toBeUndefined();
    }
  });
});

describe("an issuer's key set", () => {
  it("leaves out keys that are for something else or of no use, and keeps the rest", () => {
    const keys = parseOidcKeys(
      jwksOf(
        rsa.jwk({ kid: "enc", use: "enc" }),
        rsa.jwk({ kid: "ops", key_ops: ["sign"] }),
        rsa.jwk({ kid: undefined }),
        rsa.jwk({ kid: "private", d: "AQAB" }),
        makeJwk(makeFactoryKey("rsa-1024"), { kid: "weak" }),
        makeJwk(makeFactoryKey("ed25519"), { kid: "ed" }),
        { kty: "oct", k: "c2VjcmV0", kid: "oct" },
        rsa.jwk({ kid: "good", use: undefined, key_ops: ["verify"] }),
      ),
    );
    expect([...keys.keys()]).toEqual(["good"]);
  });

  it("tries each key of one kid that fits the algorithm", async () => {
    const old = new CiIssuer("rsa-2048", "same");
    const keys = parseOidcKeys(jwksOf(old.jwk(), rsa.jwk({ kid: "same" }), p256.jwk({ kid: "same" })));
    const keysFor = async (id: string) => keys.get(id) ?? [];
    await expect(verify(rsa.token(GOOD, { kid: "same" }), { keysFor })).resolves.toBeDefined();
    await expect(verify(p256.token(GOOD, { kid: "same" }), { keysFor })).resolves.toBeDefined();
  });

  it.each<[string, Buffer, RegExp]>([
    ["no JSON", Buffer.from("<html>"), /is not JSON/],
    ["no keys", Buffer.from("{}"), /must have an array keys/],
    ["an empty array", jwksOf(), /no key that signatures/],
    ["keys that are no objects", Buffer.from('{"keys":[1]}'), /must hold objects/],
    ["257 keys", jwksOf(...Array.from({ length: 257 }, () => ({}))), /more than 256 keys/],
    ["one kid five times", jwksOf(...Array.from({ length: 5 }, () => rsa.jwk())), /more than 4 times/],
    ["too many bytes", Buffer.alloc(524_289, " "), /larger than 524288/],
  ])("is refused with %s", (_what, bytes, detail) => {
    expect(() => parseOidcKeys(bytes)).toThrowCode("INVALID_BUNDLE", detail);
  });
});

describe("a token that many are asked about", () => {
  it.each([
    ["good", () => rsa.token(GOOD)],
    ["broken", () => rsa.token(GOOD).replace(/\.[^.]*\./, `.${Buffer.from("[]").toString("base64url")}.`)],
  ])("is taken apart once: a %s one", (_, make) => {
    const token = make();
    const parse = vi.spyOn(JSON, "parse");
    const first = claimedIssuer(token);
    const once = parse.mock.calls.length;
    expect(once).toBeGreaterThan(1);
    for (let n = 0; n < 50; n++) expect(claimedIssuer(token)).toBe(first);
    expect(parse.mock.calls.length).toBe(once);
    expect(claimedIssuer(rsa.token({ ...GOOD, iss: "https://other.example" }))).toBe("https://other.example");
    expect(claimedIssuer(token)).toBe(first);
    parse.mockRestore();
  });
});

function flipped(token: string): string {
  const at = token.lastIndexOf(".") + 10;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}

/** The same signature with s negated: as good for every verifier that does not insist on the smaller one. */
function malleated(token: string): string {
  const at = token.lastIndexOf(".") + 1;
  const signature = Buffer.from(token.slice(at), "base64url");
  const s = BigInt(`0x${signature.subarray(32).toString("hex")}`);
  const negated = (ORDER - s).toString(16).padStart(64, "0");
  return (
    token.slice(0, at) +
    Buffer.concat([signature.subarray(0, 32), Buffer.from(negated, "hex")]).toString("base64url")
  );
}

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
