import { describe, expect, it } from "vitest";
import { makeJwk, makeX509Jwk } from "../../test/fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey } from "../../test/fakes/svid-factory.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { formatBundleDocument, parseBundleDocument } from "./bundle-document.ts";
import { generateEcKeyPair } from "./keys.ts";
import { spkiToJwk } from "./jose/jwk.ts";
import { createX509AuthorityCertificate } from "./x509-authority.ts";
import { sign } from "node:crypto";

const trustDomain = parseTrustDomain("example.org");
const jwtKey = generateEcKeyPair("ec-p256").spki;
const witKey = generateEcKeyPair("ec-p256").spki;

describe("SPIFFE bundle documents (Trust Domain and Bundle §4)", () => {
  it("writes what X509-SVID §6.1 and JWT-SVID §6.1 ask for and reads it back", async () => {
    const certificate = await authority();
    const bundle = {
      trustDomain,
      sequence: 2n ** 63n - 1n,
      refreshHint: 300,
      x509Authorities: [{ certificate, tainted: false }],
      jwtAuthorities: [{ keyId: "k1", publicKey: jwtKey, expiresAt: 0, tainted: false }],
      witAuthorities: [{ keyId: "w1", publicKey: witKey, expiresAt: 0, tainted: false }],
    };
    const text = formatBundleDocument(bundle);
    const document = JSON.parse(text) as { spiffe_refresh_hint: number; keys: object[] };
    expect(document.spiffe_refresh_hint).toBe(300);
    const [x509 = {}, jwt = {}] = document.keys;
    expect(Object.keys(x509).toSorted()).toEqual(["crv", "kty", "use", "x", "x5c", "y"]);
    expect(x509).toMatchObject({ use: "x509-svid", x5c: [Buffer.from(certificate).toString("base64")] });
    expect(Object.keys(jwt).toSorted()).toEqual(["crv", "kid", "kty", "use", "x", "y"]);
    expect(jwt).toMatchObject({ use: "jwt-svid", kid: "k1" });
    const read = parseBundleDocument(trustDomain, Buffer.from(text));
    expect(read.sequence).toBe(2n ** 63n - 1n);
    expect(read.x509Authorities).toHaveLength(1);
    expect(Buffer.compare(read.x509Authorities[0]?.certificate ?? Buffer.of(), certificate)).toBe(0);
    expect(read.jwtAuthorities[0]?.keyId).toBe("k1");
    expect(Buffer.compare(read.jwtAuthorities[0]?.publicKey ?? Buffer.of(), jwtKey)).toBe(0);
  });

  it("leaves out entries of an unknown use or key type and X.509 entries without a certificate", () => {
    const good = spkiToJwk(jwtKey, { keyId: "k1", use: "jwt-svid" });
    const read = parse({
      keys: [
        { ...good, kid: "a", use: "foo" },
        { ...good, kid: "b", use: undefined },
        { ...good, kid: "c", use: "JWT-SVID" },
        { kty: "AKP", use: "jwt-svid", kid: "d", pub: "x" },
        { kty: "EC", crv: "secp256k1", use: "jwt-svid", kid: "e", x: "x", y: "y" },
        { ...good, use: "x509-svid" },
        { ...good, use: "x509-svid", x5c: [] },
        good,
      ],
      x_foo: 1,
    });
    expect(read.jwtAuthorities.map(({ keyId }) => keyId)).toEqual(["k1"]);
    expect(read.x509Authorities).toEqual([]);
  });

  it("reads the largest sequence that the wire to agents can carry", () => {
    const text = '{"spiffe_sequence": 18446744073709551615, "keys": []}';
    expect(parseBundleDocument(trustDomain, Buffer.from(text)).sequence).toBe(2n ** 64n - 1n);
  });

  it("reads the sequence of the document, not one that stands deeper", () => {
    const text = '{"x": {"spiffe_sequence": 1}, "spiffe_sequence": 9007199254740993, "keys": []}';
    expect(parseBundleDocument(trustDomain, Buffer.from(text)).sequence).toBe(9007199254740993n);
  });

  it("takes an empty set of keys for a bundle that trusts nothing", () => {
    expect(parse({ keys: [] })).toMatchObject({
      sequence: 0n,
      refreshHint: 0,
      x509Authorities: [],
      jwtAuthorities: [],
      witAuthorities: [],
    });
  });

  it.each([
    ["not JSON", "{", /bundle/],
    ["no keys", "{}", /keys must be an array/],
    ["keys that is no array", '{"keys": {}}', /keys must be an array/],
    ["a key that is no object", '{"keys": [1]}', /keys\[0\] must be an object/],
    ["repeated members", '{"keys": [], "keys": []}', /bundle/],
    ["a negative sequence", '{"keys": [], "spiffe_sequence": -1}', /spiffe_sequence/],
    ["a fractional hint", '{"keys": [], "spiffe_refresh_hint": 1.5}', /spiffe_refresh_hint/],
    ["a sequence in exponent form beyond 2^53", '{"keys": [], "spiffe_sequence": 1e17}', /plain digits/],
    ["a sequence beyond 64 bits", '{"keys": [], "spiffe_sequence": 18446744073709551616}', /64 bits/],
  ])("refuses %s", (_, text, detail) => {
    expect(() => parseBundleDocument(trustDomain, Buffer.from(text))).toThrowCode("INVALID_BUNDLE", detail);
  });

  describe("with a broken key of a use that is known", () => {
    const good = makeAuthority("example.org");
    const other = makeAuthority("example.org");
    const rsa = makeFactoryKey("rsa-2048");
    const x5c = [good.der.toString("base64")];
    const jwt = spkiToJwk(jwtKey, { keyId: "k1", use: "jwt-svid" });

    it.each<[string, object, RegExp]>([
      ["a JWT key without kid", { ...jwt, kid: undefined }, /kid/],
      ["a JWT key with an empty kid", { ...jwt, kid: "" }, /kid/],
      ["a kid that is repeated", makeJwk(rsa, { kid: "good", use: "jwt-svid" }), /kid is repeated/],
      ["a JWT key off its curve", { ...jwt, y: Buffer.alloc(32, 1).toString("base64url") }, /./],
      [
        "a JWT key of a size that nobody should use",
        makeJwk(makeFactoryKey("rsa-1024"), { kid: "s", use: "jwt-svid" }),
        /1024/,
      ],
      ["a JWT key with its private half", { ...jwt, d: "AAAA" }, /private/],
      ["x5c that is no certificate", makeX509Jwk(good, { x5c: ["AAAA"] }), /x5c/],
      ["x5c that is no list", makeX509Jwk(good, { x5c: x5c[0] }), /x5c/],
      [
        "x5c in base64url without padding",
        makeX509Jwk(good, { x5c: [good.der.toString("base64url")] }),
        /x5c/,
      ],
      [
        "x5c with another certificate than the members",
        makeX509Jwk(good, { x5c: [other.der.toString("base64")] }),
        /another key/,
      ],
      ["x5c without members", { kty: "EC", crv: "P-256", use: "x509-svid", x5c }, /another key/],
    ])("leaves out %s and keeps the others, or refuses it where asked to", (_, key, detail) => {
      const document = Buffer.from(
        JSON.stringify({ keys: [{ ...jwt, kid: "good" }, makeX509Jwk(good), key] }),
      );
      const read = parseBundleDocument(trustDomain, document);
      expect(read.jwtAuthorities.map(({ keyId }) => keyId)).toEqual(["good"]);
      expect(read.x509Authorities.map(({ certificate }) => Buffer.from(certificate))).toEqual([good.der]);
      expect(() => parseBundleDocument(trustDomain, document, { broken: "refuse" })).toThrowCode(
        "INVALID_BUNDLE",
        detail,
      );
    });
  });
});

function parse(document: unknown) {
  return parseBundleDocument(trustDomain, Buffer.from(JSON.stringify(document)));
}

async function authority(): Promise<Uint8Array> {
  const { pkcs8, spki } = generateEcKeyPair("ec-p256");
  return createX509AuthorityCertificate(
    {
      trustDomain,
      spki,
      serial: Uint8Array.of(1, 2, 3),
      notBefore: 1_790_000_000,
      notAfter: 1_790_086_400,
      signatureAlgorithm: "ecdsa-sha256",
    },
    (tbs) => sign("sha256", tbs, { key: Buffer.from(pkcs8), format: "der", type: "pkcs8" }),
  );
}
