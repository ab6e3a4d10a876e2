import { sign } from "node:crypto";
import fc from "fast-check";
import { jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import { makeToken } from "../../../test/fakes/jose-factory.ts";
import { makeFactoryKey } from "../../../test/fakes/svid-factory.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { type AccessTokenOrdered, lintAccessTokenInput } from "./access-token-lint.ts";
import { type AccessTokenExpectations, readActClaim, verifyAccessToken } from "./access-token-verify.ts";
import { type AccessTokenClaims, accessTokenSigningInput } from "./access-token.ts";
import { assembleJwtSvid } from "./jwt-svid.ts";

const NOW = 1_790_000_000;
const ISSUER = "https://assay.example";
const key = makeFactoryKey("ec-p256");
const keys = new Map([["k", { publicKey: key.publicKey }]]);
const thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const claims: AccessTokenClaims = {
  iss: ISSUER,
  sub: "spiffe://example.org/spire/task/ci/1",
  aud: `${ISSUER}/v1/task`,
  clientId: "spiffe://example.org/spire/task/ci/1",
  exp: NOW + 300,
  iat: NOW,
  jti: "j-1",
  confirmation: { jkt: thumbprint },
};
const full: AccessTokenClaims = {
  ...claims,
  scope: "task read",
  status: { uri: `${ISSUER}/oauth2/status-lists/0`, idx: 7 },
  act: { sub: "a", act: { sub: "b", iss: "https://other.example" } },
  extra: { "https://aws.example/tags": { a: ["1"] }, task: { id: "1" } },
};
const header = { alg: "ES256", kid: "k", typ: "at+jwt" };
const payload = {
  iss: ISSUER,
  sub: "s",
  aud: "a",
  client_id: "c",
  exp: NOW + 300,
  iat: NOW,
  jti: "j-1",
  cnf: { jkt: thumbprint },
};

const write = (change: Partial<AccessTokenClaims> = {}) =>
  accessTokenSigningInput({ keyId: "k", alg: "ES256", claims: { ...claims, ...change } });
const mint = (change: Partial<AccessTokenClaims> = {}) => {
  const input = write(change);
  return assembleJwtSvid(input, sign("sha256", input, { key: key.privateKey, dsaEncoding: "ieee-p1363" }));
};
const verify = (token: string, change: Partial<AccessTokenExpectations> = {}) =>
  verifyAccessToken(token, keys, { issuer: ISSUER, audience: undefined, now: NOW, ...change });
const make = (change: object, headers: object = {}) =>
  makeToken({ key, header: { ...header, ...headers }, payload: { ...payload, ...change }, signAs: "ES256" });

describe("an access token (RFC 9068)", () => {
  it("says what was ordered and reads back as it was", async () => {
    const facts = await verify(mint(full), { audience: claims.aud });
    expect(facts).toMatchObject({
      subject: claims.sub,
      clientId: claims.clientId,
      audience: claims.aud,
      scope: "task read",
      jti: "j-1",
      issuedAt: NOW,
      expiresAt: NOW + 300,
      keyId: "k",
      confirmation: { jkt: thumbprint },
      status: full.status,
      act: full.act,
    });
    expect(facts.claims["task"]).toEqual({ id: "1" });
  });

  it("is read by another library", async () => {
    const read = await jwtVerify(mint(full), key.publicKey, {
      typ: "at+jwt",
      issuer: ISSUER,
      audience: claims.aud,
      currentDate: new Date(NOW * 1000),
    });
    expect(read.payload).toMatchObject({
      client_id: claims.clientId,
      cnf: { jkt: thumbprint },
      status: { status_list: { idx: 7, uri: full.status?.uri } },
    });
  });

  it("leaves out what was not ordered", async () => {
    const facts = await verify(mint({ confirmation: undefined }));
    expect(facts.confirmation).toBeUndefined();
    expect(Object.keys(facts.claims)).toEqual(["iss", "sub", "aud", "client_id", "exp", "iat", "jti"]);
  });

  it("may be bound to a certificate", async () => {
    const facts = await verify(mint({ confirmation: { x5tS256: thumbprint } }));
    expect(facts.confirmation).toEqual({ x5tS256: thumbprint });
    expect(facts.claims["cnf"]).toEqual({ "x5t#S256": thumbprint });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ...["iss", "sub", "aud", "client_id", "exp", "nbf", "iat", "jti", "scope", "cnf", "status", "act"].map(
      (name): [string, Record<string, unknown>, RegExp] => [name, { [name]: 1 }, /meaning of its own/],
    ),
    ["a number", { 1: 1 }, /begin with a letter/],
    ["__proto__", JSON.parse('{"__proto__":1}') as Record<string, unknown>, /begin with a letter/],
    ["nothing", { "": 1 }, /begin with a letter/],
    ["a name without value", { a: undefined }, /no value/],
    ["more than 32", Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`c${at}`, 1])), /at most 32/],
    ["too much", { a: "x".repeat(8192) }, /at most 8192/],
  ])("cannot be given a further claim of %s", (_, extra, detail) => {
    expect(() => write({ extra })).toThrowCode("INTERNAL", detail);
  });

  it("has times of whole seconds", () => {
    for (const change of [{ exp: NOW + 0.5 }, { iat: Number.NaN }]) {
      expect(() => write(change)).toThrowCode("INTERNAL", /whole seconds/);
    }
  });
});

describe("verifyAccessToken (RFC 9068 §4)", () => {
  it.each<[string, object, RegExp]>([
    ["another issuer", { iss: `${ISSUER}/` }, /another issuer/],
    ["no issuer", { iss: undefined }, /another issuer/],
    ["no subject", { sub: undefined }, /sub/],
    ["an empty subject", { sub: "" }, /sub/],
    ["two audiences", { aud: ["a", "b"] }, /aud/],
    ["no client", { client_id: undefined }, /client_id/],
    ["no jti", { jti: undefined }, /jti/],
    ["no exp", { exp: undefined }, /exp is missing/],
    ["no iat", { iat: undefined }, /iat is missing/],
    ["an exp that is a text", { exp: "4000000000" }, /exp must be whole seconds/],
    ["an exp that is now", { exp: NOW }, /expired/],
    ["an iat to come", { iat: NOW + 1 }, /future/],
    ["an nbf to come", { nbf: NOW + 1 }, /not valid yet/],
    ["a scope that is a list", { scope: ["a"] }, /scope/],
    ["an empty confirmation", { cnf: {} }, /cnf is not understood/],
    ["a confirmation that is not understood", { cnf: { kid: "x" } }, /cnf/],
    ["two confirmations", { cnf: { jkt: thumbprint, "x5t#S256": thumbprint } }, /cnf/],
    ["a thumbprint that is none", { cnf: { jkt: thumbprint.slice(1) } }, /cnf/],
    ["a thumbprint in another spelling", { cnf: { jkt: `${thumbprint.slice(0, -1)}J` } }, /cnf/],
    ["no confirmation but null", { cnf: null }, /cnf/],
    ["a status that is not understood", { status: { x: 1 } }, /status/],
    ["a place before the list", { status: { status_list: { idx: -1, uri: "u" } } }, /status/],
    ["a place in no list", { status: { status_list: { idx: 1 } } }, /status/],
    ["an actor that is a text", { act: "a" }, /act/],
    ["an actor without name", { act: { iss: "i" } }, /act/],
  ])("refuses a token with %s", async (_, change, detail) => {
    await expect(verify(make(change))).rejects.toThrowCode("INVALID_ACCESS_TOKEN", detail);
  });

  it.each<[string, object, RegExp]>([
    ["the typ of a JWT-SVID", { typ: "JWT" }, /typ must be at\+jwt/],
    ["no typ", { typ: undefined }, /typ/],
    ["the long typ", { typ: "application/at+jwt" }, /typ/],
    ["the typ of an ID token", { typ: "wit+jwt" }, /typ/],
    ["no algorithm", { alg: "none" }, /alg/],
    ["the algorithm of another key", { alg: "RS256" }, /alg does not fit/],
    ["no kid", { kid: undefined }, /kid is missing/],
    ["an unknown kid", { kid: "other" }, /no JWT authority/],
    ["critical headers", { crit: ["x"], x: 1 }, /crit/],
  ])("refuses a token with %s", async (_, headers, detail) => {
    await expect(verify(make({}, headers))).rejects.toThrowCode("INVALID_ACCESS_TOKEN", detail);
  });

  it("is for its own audience alone, unless it may know all", async () => {
    await verify(make({}), { audience: "a" });
    await verify(make({}));
    for (const audience of ["A", "", "a/"]) {
      await expect(verify(make({}), { audience })).rejects.toThrowCode("INVALID_ACCESS_TOKEN", /audience/);
    }
  });

  it("lets no token in by a leeway that is no number", async () => {
    await verify(make({ exp: NOW - 4, iat: NOW - 9 }), { leewaySeconds: 5 });
    await expect(verify(make({}), { leewaySeconds: Number.NaN })).rejects.toThrowCode("INVALID_ACCESS_TOKEN");
  });

  it("answers whatever was changed in a token with INVALID_ACCESS_TOKEN", async () => {
    const token = mint(full);
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.integer({ min: 33, max: 126 }), async (at, octet) => {
        fc.pre(token.charCodeAt(at) !== octet);
        const changed = token.slice(0, at) + String.fromCharCode(octet) + token.slice(at + 1);
        const error = await verify(changed).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(AssayError);
        expect((error as AssayError).code).toBe("INVALID_ACCESS_TOKEN");
      }),
      { numRuns: 300 },
    );
  });

  it("follows eight actors and no more", () => {
    const chain = (length: number): object => ({
      sub: "a",
      ...(length > 1 ? { act: chain(length - 1) } : {}),
    });
    expect(readActClaim(chain(8))).toEqual(chain(8));
    expect(readActClaim(chain(9))).toBeUndefined();
  });
});

describe("lintAccessTokenInput", () => {
  const ordered: AccessTokenOrdered = {
    ...full,
    keyId: "k",
    algorithm: "ES256",
    authorityNotAfter: NOW + 300,
  };
  const rules = (input: Uint8Array, change: Partial<AccessTokenOrdered> = {}) =>
    lintAccessTokenInput(input, { ...ordered, ...change }).map(({ rule }) => rule);

  it("finds nothing in what was ordered", () => {
    expect(rules(write(full))).toEqual([]);
  });

  it.each<[string, Partial<AccessTokenOrdered>, string]>([
    ["key", { keyId: "other" }, "§2.1"],
    ["algorithm", { algorithm: "ES384" }, "§2.1"],
    ["issuer", { iss: "x" }, "§2.2"],
    ["subject", { sub: "x" }, "§2.2"],
    ["audience", { aud: "x" }, "§2.2"],
    ["client", { clientId: "x" }, "§2.2"],
    ["end", { exp: NOW + 299 }, "§2.2"],
    ["beginning", { iat: NOW - 1 }, "§2.2"],
    ["name", { jti: "x" }, "§2.2"],
    ["scope", { scope: "x" }, "§2.2.3"],
    ["key thumbprint", { confirmation: { jkt: thumbprint.replace("0Z", "1Z") } }, "§2.2"],
    ["kind of confirmation", { confirmation: { x5tS256: thumbprint } }, "§2.2"],
    ["place in the list", { status: { uri: full.status?.uri ?? "", idx: 8 } }, "§2.2"],
    ["actor", { act: { sub: "b" } }, "§2.2"],
    ["further claim", { extra: { ...full.extra, task: { id: "2" } } }, "§2.2"],
    ["end of the authority", { authorityNotAfter: NOW + 299 }, "§2.2"],
  ])("finds another %s", (_, change, rule) => {
    expect(rules(write(full), change)).toEqual([rule]);
  });

  it.each<[string, Partial<AccessTokenOrdered>]>([
    ["confirmation", { confirmation: undefined }],
    ["scope", { scope: undefined }],
    ["status", { status: undefined }],
    ["actor", { act: undefined }],
    ["further claim", { extra: {} }],
  ])("finds a %s that was not ordered", (_, change) => {
    expect(rules(write(full), change)).not.toEqual([]);
  });

  it.each<[string, Partial<AccessTokenClaims>, string]>([
    ["an empty subject", { sub: "" }, "§2.2"],
    ["an empty jti", { jti: "" }, "§2.2"],
    ["no lifetime", { exp: NOW }, "§2.2"],
    ["a scope with two spaces", { scope: "a  b" }, "§2.2.3"],
    ["an empty scope", { scope: "" }, "§2.2.3"],
    ["a thumbprint that is none", { confirmation: { jkt: "x" } }, "RFC 9449 §6.1"],
    ["a place that is none", { status: { uri: "u", idx: -1 } }, "Token Status List §6.2"],
  ])("finds %s though it was ordered", (_, change, rule) => {
    expect(rules(write({ ...full, ...change }), change)).toEqual([rule]);
  });

  it("finds what is no token", () => {
    expect(rules(Buffer.from("a.b"))).toEqual(["§2"]);
  });
});
