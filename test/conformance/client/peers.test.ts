import { describe, expect, it } from "vitest";
import { parseCertificates } from "../../../src/crypto/pem.ts";
import * as der from "../../../src/crypto/der/writer.ts";
import { certificatesOf } from "../../../src/workload/bundles.ts";
import { validateX509Svid } from "../../../src/workload/validate.ts";
import { parseSpiffeBundle, staticBundleSource } from "../../../src/workload/trust-bundle.ts";
import { makeBundleDocument, makeJwk, makeX509Jwk } from "../../fakes/jose-factory.ts";
import {
  type CertificateSpec,
  type FactoryCertificate,
  makeAuthority,
  makeExtension,
  makeFactoryKey,
  makeLeaf,
} from "../../fakes/svid-factory.ts";
import { shakeHands } from "../../fakes/tls-pair.ts";
import { TestX509Source } from "../../fakes/x509-source.ts";

const ID = "spiffe://factory.test/workload";
const root = makeAuthority("factory.test");
const foreignRoot = makeAuthority("foreign.test");
const trust = { "factory.test": [root], "foreign.test": [foreignRoot] };
const leaf = (spec: CertificateSpec = {}) => makeLeaf(ID, root, spec);
const intermediate = (spec: CertificateSpec = {}) =>
  makeAuthority("factory.test", { subject: "intermediate", issuer: root, ...spec });
const below = (middle: FactoryCertificate) =>
  [makeLeaf(ID, middle), middle] as [FactoryCertificate, FactoryCertificate];

type Chain = readonly [FactoryCertificate, ...FactoryCertificate[]];
const sourceOf = (chain: Chain, wanted: Readonly<Record<string, readonly FactoryCertificate[]>> = trust) =>
  new TestX509Source({ chain, trust: wanted });
const good = () => sourceOf([leaf()]);
const pool = (...roots: FactoryCertificate[]) => ({ ...trust, "factory.test": [root, ...roots] });

/** A peer with such a chain as client and as server: what either end lets through and says. */
async function bothWays(chain: Chain, wanted?: Readonly<Record<string, readonly FactoryCertificate[]>>) {
  const judge = sourceOf([leaf()], wanted);
  const peer = sourceOf(chain);
  const asClient = await shakeHands(judge, peer);
  const asServer = await shakeHands(peer, judge);
  return { asClient, asServer };
}

describe("peers that must be let in", () => {
  it.each<[string, string, () => Chain]>([
    ["XS-29", "an ordinary leaf", () => [leaf()]],
    ["XS-29", "a leaf below an intermediate", () => below(intermediate())],
    ["XS-03", "other names beside the URI", () => [leaf({ dnsNames: ["a.test"] })]],
    ["XS-22", "only digitalSignature", () => [leaf({ keyUsage: ["digitalSignature"] })]],
    ["XS-25", "no extKeyUsage", () => [leaf({ purposes: null })]],
    ["ID-26", "a leaf of a foreign trust domain", () => [makeLeaf("spiffe://foreign.test/x", foreignRoot)]],
  ])("%s lets in %s", async (_, __, chain) => {
    const shown = chain();
    const { asClient, asServer } = await bothWays(shown);
    expect(asClient).toMatchObject({ reached: "call", refusal: undefined, clientError: undefined });
    expect(asClient.heard).toMatch(/^hello spiffe:\/\/(factory\.test\/workload|foreign\.test\/x)$/);
    expect(asServer).toMatchObject({ reached: "call", refusal: undefined, clientError: undefined });
  });

  it("XS-39 trusts an intermediate that the bundle holds", async () => {
    const middle = intermediate();
    const { asClient, asServer } = await bothWays([makeLeaf(ID, middle)], { "factory.test": [root, middle] });
    expect([asClient.reached, asServer.reached]).toEqual(["call", "call"]);
  });
});

const unknown = makeExtension("1.2.3.4", true, der.nullValue());
const constrained = makeAuthority("factory.test", {
  subject: "constrained",
  permittedUriHosts: ["else.test"],
});
const short = makeAuthority("factory.test", { subject: "short", pathLength: 0 });

describe("peers that must be refused, as clients and as servers", () => {
  it.each<[string, string, () => Chain, RegExp]>([
    ["XS-02", "two SPIFFE IDs", () => [leaf({ uris: [ID, `${ID}2`] })], /exactly one URI/],
    [
      "XS-02",
      "a second URI of another scheme",
      () => [leaf({ uris: [ID, "https://factory.test/x"] })],
      /exactly one URI/,
    ],
    ["XS-02", "no URI", () => [leaf({ uris: [] })], /exactly one URI/],
    ["XS-11", "the authority itself", () => [root], /must have a path|CA certificate/],
    [
      "XS-11",
      "an authority with a path in its ID",
      () => [makeAuthority("factory.test", { issuer: root, uris: [ID] })],
      /CA certificate/,
    ],
    ["XS-15", "a path with name constraints", () => [makeLeaf(ID, constrained)], /name constraints|certif/],
    ["XS-29", "an expired leaf", () => [leaf({ notBefore: -7200, notAfter: -3600 })], /expired/],
    ["XS-29", "a leaf of the future", () => [leaf({ notBefore: 3600, notAfter: 7200 })], /not (yet )?valid/],
    [
      "XS-29",
      "an expired intermediate",
      () => below(intermediate({ notBefore: -7200, notAfter: -3600 })),
      /expired/,
    ],
    ["XS-29", "an intermediate without cA", () => below(intermediate({ ca: false })), /no trusted authority/],
    [
      "XS-29",
      "an intermediate that may not sign",
      () => below(intermediate({ keyUsage: ["cRLSign"] })),
      /no trusted authority/,
    ],
    ["XS-29", "a forged signature", () => [leaf({ signer: makeFactoryKey() })], /signature/],
    ["XS-29", "an unknown critical extension", () => [leaf({ extensions: [unknown] })], /critical extension/],
    [
      "XS-29",
      "more intermediates than the root allows",
      () => below(makeAuthority("factory.test", { subject: "m", issuer: short })),
      /intermediate certificates|path length/,
    ],
    [
      "XS-30",
      "a leaf that is a CA",
      () => [leaf({ ca: true, keyUsage: ["digitalSignature"] })],
      /CA certificate/,
    ],
    ["XS-31", "keyCertSign", () => [leaf({ keyUsage: ["digitalSignature", "keyCertSign"] })], /keyCertSign/],
    ["XS-31", "cRLSign", () => [leaf({ keyUsage: ["digitalSignature", "cRLSign"] })], /cRLSign/],
    ["XS-32", "another scheme", () => [leaf({ uris: ["https://factory.test/x"] })], /scheme/],
    ["XS-33", "an ID without path", () => [leaf({ uris: ["spiffe://factory.test"] })], /path/],
    [
      "XS-33",
      "an ID with an empty path",
      () => [leaf({ uris: ["spiffe://factory.test/"] })],
      /trailing slash/,
    ],
    [
      "ID-26",
      "an ID that a trusted authority of another trust domain signed",
      () => [makeLeaf(ID, foreignRoot)],
      /no trusted authority/,
    ],
    ["ID-23", "an ID that was changed after it was signed", () => [changed(leaf())], /signature/],
    [
      "WA-20",
      "a trust domain without a bundle",
      () => [makeLeaf("spiffe://unknown.test/x", root)],
      /no X.509 bundle/,
    ],
    ["XS-27", "a purpose that is neither", () => [leaf({ purposes: ["1.3.6.1.5.5.7.3.3"] })], /purpose/],
  ])("%s refuses %s", async (_, __, chain, reason) => {
    const { asClient, asServer } = await bothWays(chain(), pool(short, constrained));
    expect(asClient.reached).toBe("");
    expect(asClient.heard).toBe("");
    expect(asClient.refusal?.message).toMatch(reason);
    // OpenSSL has the first word at a client, in its own words.
    expect(asServer.clientError).toBeDefined();
    expect([asServer.reached, asServer.heard]).toEqual(["", ""]);
  });

  it("WA-20 refuses the peers of a trust domain from one moment to the next", async () => {
    const judge = good();
    const peer = sourceOf([makeLeaf("spiffe://foreign.test/x", foreignRoot)]);
    expect((await shakeHands(judge, peer)).reached).toBe("call");
    judge.set({ chain: [leaf()], trust: { "factory.test": [root] } });
    expect((await shakeHands(judge, peer)).refusal?.code).toBe("BUNDLE_NOT_FOUND");
    expect((await shakeHands(peer, judge)).clientError).toBeDefined();
  });

  it("XS-42 refuses the X.509 peers of a trust domain whose bundle has no X.509 authority", async () => {
    const { asClient, asServer } = await bothWays([leaf()], { "factory.test": [] });
    expect(asClient.refusal?.message).toMatch(/no trusted authority/);
    expect(asServer.clientError).toBeDefined();
  });

  it.each(["WA-21", "WA-46"])("%s judges X509-SVIDs by X.509 bundles only", () => {
    const bundle = parseSpiffeBundle(
      "factory.test",
      makeBundleDocument([
        makeJwk(root.key, { use: "jwt-svid", kid: "a" }),
        makeX509Jwk(root, { use: "jwt-svid", kid: "b" }),
      ]),
    );
    expect(bundle.jwt.keys.size).toBe(2);
    expect(() => validateX509Svid([leaf().der], staticBundleSource([bundle]))).toThrowCode(
      "INVALID_CERTIFICATE",
      "no trusted authority",
    );
  });

  it.each(["XS-40", "XS-41"])("%s takes the first x5c of an entry, and leaves out an entry without", () => {
    const other = makeAuthority("factory.test", { subject: "other" });
    const x5c = [root.der.toString("base64"), other.der.toString("base64")];
    const document = makeBundleDocument([makeX509Jwk(other, { x5c: [] }), makeX509Jwk(root, { x5c })]);
    const source = staticBundleSource([parseSpiffeBundle("factory.test", document)]);
    expect(validateX509Svid([leaf().der], source).spiffeId).toBe(ID);
    expect(() => validateX509Svid([makeLeaf(ID, other).der], source)).toThrowCode("INVALID_CERTIFICATE");
  });

  it("WA-26 reads a bundle to its last certificate, and one odd authority spoils no other", () => {
    const odd = makeAuthority("factory.test", { subject: "odd", key: makeFactoryKey("ed25519") });
    const bytes = Buffer.concat([odd.der, root.der]);
    const authorities = parseCertificates(bytes).map((certificate) => certificate.der);
    const source = sourceOf([leaf()], { "factory.test": [odd, root] });
    expect(
      certificatesOf({ profile: "x509", trustDomain: "factory.test" as never, authorities }),
    ).toHaveLength(2);
    expect(validateX509Svid([leaf().der], source).spiffeId).toBe(ID);
    expect(() => validateX509Svid([makeLeaf(ID, odd).der], source)).toThrowCode(
      "INVALID_CERTIFICATE",
      "not supported",
    );
  });
});

/** The leaf with another letter in its ID, under the same signature. */
function changed(certificate: FactoryCertificate): FactoryCertificate {
  const bytes = Buffer.from(certificate.der);
  bytes.write("X", bytes.indexOf("workload"));
  return { ...certificate, der: bytes };
}
