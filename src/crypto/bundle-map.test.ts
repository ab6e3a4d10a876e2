import { describe, expect, it } from "vitest";
import { makeJwk, makeX509Jwk } from "../../test/fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey } from "../../test/fakes/svid-factory.ts";
import { emptyBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { formatBundleMap, parseBundleMap } from "./bundle-map.ts";

const authority = makeAuthority("a.test");

describe("SPIFFE bundle maps (Trust Domain and Bundle §5.1.1)", () => {
  it("come back as they were written, in the order of names and without hints", () => {
    const text = formatBundleMap([bundleOf("b.test", 2n ** 60n), bundleOf("a.test", 7n)]);
    expect(text).not.toContain("spiffe_refresh_hint");
    const read = parseBundleMap(Buffer.from(text));
    expect([...read.keys()]).toEqual(["a.test", "b.test"]);
    expect(read.get(parseTrustDomain("b.test"))).toEqual({
      ...bundleOf("b.test", 2n ** 60n),
      refreshHint: 0,
    });
  });

  it("may be empty", () => {
    expect(formatBundleMap([])).toBe('{"trust_domains": {}}');
    expect(parseBundleMap(Buffer.from('{"trust_domains": {}, "x": 1}'))).toEqual(new Map());
  });

  it("cannot be written with a trust domain twice", () => {
    const twice = [bundleOf("a.test", 1n), bundleOf("a.test", 2n)];
    expect(() => formatBundleMap(twice)).toThrowCode("INVALID_BUNDLE", /a\.test comes twice/);
  });

  it.each([
    ["a trust domain twice", '{"trust_domains": {"a.test": {"keys": []}, "a.test": {"keys": []}}}', /twice/],
    [
      "a name twice by an escape",
      '{"trust_domains": {"a.test": {"keys": []}, "\\u0061.test": {"keys": []}}}',
      /twice/,
    ],
    ["trust_domains twice", '{"trust_domains": {}, "trust_domains": {}}', /twice/],
    ["no trust_domains", "{}", /trust_domains must be an object/],
    ["a list of trust domains", '{"trust_domains": []}', /trust_domains must be an object/],
    ["an ID for a name", '{"trust_domains": {"spiffe://a.test": {"keys": []}}}', /limited to lowercase/],
    ["an empty name", '{"trust_domains": {"": {"keys": []}}}', /missing/],
    ["the name of a prototype", '{"trust_domains": {"__proto__": []}}', /must be an object/],
    ["a bundle that is none", '{"trust_domains": {"a.test": {}}}', /a\.test: bundle: keys must be an array/],
    ["what is no JSON", "{", /not JSON/],
  ])("with %s are refused", (_, text, detail) => {
    expect(() => parseBundleMap(Buffer.from(text))).toThrowCode("INVALID_BUNDLE", detail);
  });

  it("keep the usable keys of a bundle", () => {
    const jwt = makeJwk(makeFactoryKey(), { kid: "k", use: "jwt-svid" });
    const keys = [makeX509Jwk(authority), { kty: "AKP", use: "jwt-svid" }, { ...jwt, kid: undefined }, jwt];
    const map = { trust_domains: { "a.test": { keys, spiffe_refresh_hint: 1, spiffe_sequence: 3 } } };
    expect(parseBundleMap(Buffer.from(JSON.stringify(map))).get(parseTrustDomain("a.test"))).toMatchObject({
      sequence: 3n,
      refreshHint: 0,
      x509Authorities: [{ certificate: authority.der }],
      jwtAuthorities: [{ keyId: "k" }],
    });
  });
});

function bundleOf(name: string, sequence: bigint): SpiffeBundle {
  return {
    ...emptyBundle(parseTrustDomain(name)),
    sequence,
    refreshHint: 300,
    x509Authorities: [{ certificate: authority.der, tainted: false }],
  };
}
