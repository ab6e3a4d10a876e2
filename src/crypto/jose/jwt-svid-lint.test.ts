import { describe, expect, it } from "vitest";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { type JwtSvidOrdered, lintJwtSvidInput } from "./jwt-svid-lint.ts";
import { jwtSvidSigningInput } from "./jwt-svid.ts";

const ordered: JwtSvidOrdered = {
  trustDomain: parseTrustDomain("example.org"),
  spiffeId: parseSpiffeId("spiffe://example.org/web"),
  audiences: ["db", "api"],
  keyId: "key-1",
  algorithm: "ES256",
  issuedAt: 1000,
  expiresAt: 2000,
  authorityNotAfter: 2000,
};

function inputOf(order: JwtSvidOrdered = ordered): Uint8Array {
  return jwtSvidSigningInput({
    keyId: order.keyId,
    alg: order.algorithm as "ES256",
    claims: {
      sub: order.spiffeId,
      aud: order.audiences,
      exp: order.expiresAt,
      iat: order.issuedAt,
      ...(order.issuer === undefined ? {} : { iss: order.issuer }),
      ...(order.jti === undefined ? {} : { jti: order.jti }),
    },
  });
}

const header = { alg: "ES256", kid: "key-1", typ: "JWT" };
const claims = { sub: ordered.spiffeId, aud: ["db", "api"], exp: 2000, iat: 1000 };
const encoded = (part: unknown) =>
  Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
const inputFrom = (...parts: readonly unknown[]) => Buffer.from(parts.map(encoded).join("."));
const rulesOf = (input: Uint8Array, order = ordered) =>
  lintJwtSvidInput(input, order).map(({ rule }) => rule);

describe("a JWT-SVID before it is signed", () => {
  it("passes the lint, with and without iss and jti", () => {
    expect(rulesOf(inputOf())).toEqual([]);
    for (const more of [{ issuer: "https://example.org" }, { jti: "one" }, { issuer: "x", jti: "one" }]) {
      const order = { ...ordered, ...more };
      expect(rulesOf(inputOf(order), order)).toEqual([]);
    }
  });

  it.each<[string, string, Uint8Array]>([
    ["§2", "no claims", inputFrom(header)],
    ["§2", "three parts", inputFrom(header, claims, "more")],
    ["§2", "no JSON", Buffer.from("a.b")],
    ["§2", "nothing", Buffer.from("")],
    ["§2", "a text for a header", inputFrom('"text"', claims)],
    ["§2", "a list for claims", inputFrom(header, [])],
    ["§2", "padding", Buffer.concat([inputFrom(header, claims), Buffer.from("=")])],
    ["§2", "white space", inputFrom(header, JSON.stringify(claims, undefined, 1))],
    [
      "§2",
      "a claim twice",
      inputFrom(header, JSON.stringify(claims).replace("{", '{"sub":"spiffe://example.org/admin",')),
    ],
    ["§2", "a further header", inputFrom({ ...header, jku: "https://evil.example" }, claims)],
    ["§2.1", "another alg", inputFrom({ ...header, alg: "ES384" }, claims)],
    ["§2.1", "the alg none", inputFrom({ ...header, alg: "none" }, claims)],
    ["§2.2", "another kid", inputFrom({ ...header, kid: "other" }, claims)],
    ["§2.3", "another typ", inputFrom({ ...header, typ: "wit+jwt" }, claims)],
    ["§3.1", "another sub", inputFrom(header, { ...claims, sub: "spiffe://example.org/admin" })],
    ["§3.2", "another aud", inputFrom(header, { ...claims, aud: ["db", "other"] })],
    ["§3.2", "more in aud", inputFrom(header, { ...claims, aud: ["db", "api", "more"] })],
    ["§3.2", "less in aud", inputFrom(header, { ...claims, aud: ["db"] })],
    ["§3.2", "no list in aud", inputFrom(header, { ...claims, aud: "db" })],
    ["§3.2", "an empty aud", inputFrom(header, { ...claims, aud: [] })],
    ["§3.3", "another exp", inputFrom(header, { ...claims, exp: 2001 })],
    ["§3.3", "a text in exp", inputFrom(header, { ...claims, exp: "2000" })],
    ["§3.3", "another iat", inputFrom(header, { ...claims, iat: 999 })],
    ["§3", "a further claim", inputFrom(header, { ...claims, scope: "admin" })],
    ["§3", "an iss that nobody configured", inputFrom(header, { ...claims, iss: "https://example.org" })],
    ["§3", "a jti that nobody ordered", inputFrom(header, { ...claims, jti: "one" })],
  ])("is found to break %s by %s", (rule, _, input) => {
    expect(rulesOf(input)).toContain(rule);
  });

  it.each<[string, string, Partial<JwtSvidOrdered>]>([
    ["§2.1", "an algorithm that is none of the nine", { algorithm: "HS256" }],
    ["§2.2", "no kid", { keyId: "" }],
    ["§3.1", "a foreign ID", { spiffeId: parseSpiffeId("spiffe://other.org/web") }],
    ["§3.1", "an ID that only begins the same", { spiffeId: parseSpiffeId("spiffe://example.org.evil/web") }],
    ["§3.1", "an ID without path", { spiffeId: parseSpiffeId("spiffe://example.org") }],
    ["§3.3", "an end after the authority's", { authorityNotAfter: 1999 }],
    ["§3.3", "an end at its beginning", { issuedAt: 2000 }],
    ["§3.3", "an end before its beginning", { issuedAt: 2001 }],
    ["§3", "an empty jti", { jti: "" }],
  ])("is found to break %s where the order itself has %s", (rule, _, change) => {
    const wrong = { ...ordered, ...change };
    expect(rulesOf(inputOf(wrong), wrong)).toEqual([rule]);
  });

  it("is found to have no audience where none was ordered", () => {
    expect(rulesOf(inputFrom(header, { ...claims, aud: [] }), { ...ordered, audiences: [] })).toEqual([
      "§3.2",
    ]);
    expect(rulesOf(inputFrom(header, { ...claims, aud: [""] }), { ...ordered, audiences: [""] })).toEqual([
      "§3.2",
    ]);
  });

  it("is refused again with a header that was refused before, and passes again after", () => {
    const bad = inputFrom({ ...header, kid: "other" }, claims);
    expect([rulesOf(bad), rulesOf(bad), rulesOf(inputOf()), rulesOf(bad)]).toEqual([
      ["§2.2"],
      ["§2.2"],
      [],
      ["§2.2"],
    ]);
  });
});
