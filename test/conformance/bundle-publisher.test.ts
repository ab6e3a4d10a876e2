import { X509Certificate } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { startServer } from "../e2e/harness.ts";
import { makeAuthority, makeCertificate, makeFactoryKey } from "../fakes/svid-factory.ts";
import { formatBundleMap, parseBundleMap } from "../../src/crypto/bundle-map.ts";
import { emptyBundle } from "../../src/spiffe/bundle.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { makeBundleDocument, makeJwk } from "../fakes/jose-factory.ts";
import { askWeb } from "./foreign.ts";
import { makeWorld, type World } from "./world.ts";

interface PublishedKey {
  readonly kty?: string;
  readonly use?: string;
  readonly kid?: string;
  readonly x5c?: readonly string[];
}

interface Published {
  readonly spiffe_sequence: unknown;
  readonly spiffe_refresh_hint: unknown;
  readonly keys: readonly PublishedKey[];
}

const rsaAuthority = makeAuthority("example.org", { subject: "rsa", key: makeFactoryKey("rsa-2048") });
const p384Authority = makeAuthority("example.org", { subject: "p384", key: makeFactoryKey("ec-p384") });

let world: World;
let document: Published;
let text: string;

beforeAll(async () => {
  world = await makeWorld();
  await world.admin.service(Bundle).appendBundle({
    x509Authorities: [{ asn1: rsaAuthority.der }, { asn1: p384Authority.der }],
    jwtAuthorities: [{ keyId: "rsa", publicKey: makeFactoryKey("rsa-2048", "jwt").spki }],
  });
  text = await published(world);
  document = JSON.parse(text) as Published;
});

afterAll(() => world?.[Symbol.asyncDispose]());

const x509Keys = () => document.keys.filter(({ use }) => use === "x509-svid");

describe("the bundle that a server publishes", () => {
  it("ID-19 has authorities from the start", async () => {
    await using fresh = await makeWorld();
    const { keys } = JSON.parse(await published(fresh)) as Published;
    expect(keys.map(({ use }) => use)).toEqual(["x509-svid", "jwt-svid"]);
  });

  it.each(["TB-03", "TB-12"])("%s is a JWK Set with an array of keys", () => {
    expect(Array.isArray(document.keys)).toBe(true);
  });

  it("TB-04 has nothing at the top but what the standard defines", () => {
    expect(Object.keys(document).toSorted()).toEqual(["keys", "spiffe_refresh_hint", "spiffe_sequence"]);
  });

  it.each(["TB-06", "TB-07"])("%s has a sequence, which is an integer in plain digits", () => {
    expect(text).toMatch(/"spiffe_sequence": ?\d+[,}]/);
  });

  it.each(["TB-10", "TB-11"])("%s has a refresh hint, which is a whole number of seconds", () => {
    expect(text).toMatch(/"spiffe_refresh_hint": ?[1-9]\d*[,}]/);
  });

  it.each(["TB-07", "TB-08"])("%s counts every change, and goes on counting after a restart", async () => {
    await using changing = await makeWorld();
    const sequence = async () => Number((JSON.parse(await published(changing)) as Published).spiffe_sequence);
    const seen = [await sequence()];
    const bundle = changing.admin.service(Bundle);
    await bundle.appendBundle({ x509Authorities: [{ asn1: makeAuthority("example.org").der }] });
    seen.push(await sequence());
    await bundle.appendBundle({ jwtAuthorities: [{ keyId: "k", publicKey: makeFactoryKey().spki }] });
    seen.push(await sequence());
    expect(seen).toEqual([...new Set(seen)].toSorted((a, b) => a - b));

    const last = seen.at(-1) ?? 0;
    await changing.server.program.stop();
    await using again = await startServer(changing.server.place);
    const { body } = await askWeb({ ...changing, server: again }, "GET", "/v1/trust-bundle");
    expect((JSON.parse(body.toString()) as Published).spiffe_sequence).toBeGreaterThanOrEqual(last);
  });

  it("TB-08 does not count what changes nothing", async () => {
    await world.admin.service(Bundle).appendBundle({ x509Authorities: [{ asn1: rsaAuthority.der }] });
    expect(await published(world)).toBe(text);
  });

  it("TB-18 gives a key the members that its kind has, and no others", () => {
    for (const key of document.keys) {
      const members = key.kty === "RSA" ? ["n", "e"] : ["crv", "x", "y"];
      const named = key.use === "x509-svid" ? "x5c" : "kid";
      expect(Object.keys(key).toSorted()).toEqual(["kty", "use", named, ...members].toSorted());
    }
  });

  it.each(["TB-19", "TB-21"])("%s says of every key what it is and what it is for", () => {
    for (const { kty, use } of document.keys) {
      expect(["EC", "RSA"]).toContain(kty);
      expect(["x509-svid", "jwt-svid"]).toContain(use);
    }
  });
});

describe("the X.509 authorities in it", () => {
  it("XS-34 are one key each, the one of its certificate", () => {
    expect(x509Keys()).toHaveLength(3);
    for (const key of x509Keys()) {
      const { publicKey } = new X509Certificate(Buffer.from(key.x5c?.[0] ?? "", "base64"));
      expect(key).toMatchObject(publicKey.export({ format: "jwk" }));
    }
  });

  it("XS-35 are for the use x509-svid", () => {
    expect(x509Keys().map(({ use }) => use)).toEqual(["x509-svid", "x509-svid", "x509-svid"]);
    expect(document.keys.filter(({ x5c }) => x5c !== undefined)).toEqual(x509Keys());
  });

  it("XS-36 have no kid", () => {
    for (const key of x509Keys()) expect(key).not.toHaveProperty("kid");
  });

  it.each(["XS-37", "XS-38"])("%s hold one certificate, in padded standard base64", () => {
    const certificates = x509Keys().flatMap(({ x5c = [] }) => x5c);
    expect(certificates).toHaveLength(3);
    expect(certificates.slice(1)).toEqual(
      [rsaAuthority, p384Authority].map(({ der }) => der.toString("base64")),
    );
    for (const { x5c } of x509Keys()) expect(x5c).toHaveLength(1);
  });

  it("XS-39 are self-signed, as the server's own is", () => {
    const [own] = x509Keys();
    const certificate = new X509Certificate(Buffer.from(own?.x5c?.[0] ?? "", "base64"));
    expect(certificate.issuer).toBe(certificate.subject);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
  });

  it("XS-34 are no certificate but that of a CA", async () => {
    const leaf = makeCertificate({ uris: ["spiffe://example.org/x"] });
    const append = world.admin.service(Bundle).appendBundle({ x509Authorities: [{ asn1: leaf.der }] });
    await expect(append).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });
});

describe("a bundle map", () => {
  const bundles = ["b.test", "a.test"].map((name) => ({
    ...emptyBundle(parseTrustDomain(name)),
    sequence: 2n ** 60n,
    refreshHint: 60,
    x509Authorities: [{ certificate: makeAuthority(name).der, tainted: false }],
  }));
  const parse = (map: string) => parseBundleMap(Buffer.from(map));

  it.each(["TB-23", "TB-24"])("%s has bundles under the bare names of their trust domains", () => {
    const map = JSON.parse(formatBundleMap(bundles)) as { trust_domains: Record<string, Published> };
    expect(Object.keys(map)).toEqual(["trust_domains"]);
    expect(Object.keys(map.trust_domains)).toEqual(["a.test", "b.test"]);
    expect(map.trust_domains["a.test"]?.keys).toHaveLength(1);
  });

  it("TB-24 may be empty", () => {
    expect(JSON.parse(formatBundleMap([]))).toEqual({ trust_domains: {} });
    expect(parse('{"trust_domains":{}}').size).toBe(0);
  });

  it("TB-25 names no trust domain twice", () => {
    expect(() => formatBundleMap([...bundles, ...bundles])).toThrowCode("INVALID_BUNDLE", /twice/);
  });

  it.each([
    '{"trust_domains":{"a.test":{"keys":[]},"a.test":{"keys":[]}}}',
    '{"trust_domains":{"a.test":{"keys":[]},"\\u0061.test":{"keys":[]}}}',
  ])("TB-26 is refused when it does: %s", (map) => {
    expect(() => parse(map)).toThrowCode("INVALID_BUNDLE", /twice/);
  });

  it("TB-27 has no refresh hints in it", () => {
    expect(formatBundleMap(bundles)).not.toContain("spiffe_refresh_hint");
  });

  it("TB-28 makes nothing of a hint in a bundle", () => {
    const map = `{"trust_domains":{"a.test":${makeBundleDocument([], { spiffe_refresh_hint: 1 }).toString()}}}`;
    expect([...parse(map).values()].map(({ refreshHint }) => refreshHint)).toEqual([0]);
  });

  it("TB-29 is taken as a whole, each bundle with its sequence", () => {
    const read = parse(formatBundleMap(bundles));
    expect([...read].map(([name, { sequence }]) => [name, sequence])).toEqual([
      ["a.test", 2n ** 60n],
      ["b.test", 2n ** 60n],
    ]);
    const broken = `{"trust_domains":{"a.test":{"keys":[]},"b.test":{"keys":${JSON.stringify(makeJwk(makeFactoryKey()))}}}}`;
    expect(() => parse(broken)).toThrowCode("INVALID_BUNDLE", /b\.test/);
  });
});

async function published(from: World): Promise<string> {
  const { status, body } = await askWeb(from, "GET", "/v1/trust-bundle");
  expect(status).toBe(200);
  return body.toString("utf8");
}
