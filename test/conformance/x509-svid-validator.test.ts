import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import * as der from "../../src/crypto/der/writer.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import {
  type CertificateSpec,
  type FactoryCertificate,
  makeAuthority,
  makeCertificate,
  makeExtension,
  makeFactoryKey,
  makeLeaf,
  withFlippedBit,
  withLongLength,
} from "../fakes/svid-factory.ts";
import {
  FOREIGN_OPERATOR,
  knock,
  makeDoorWorld,
  OPERATOR,
  reasonOf,
  shown,
  trustAuthority,
} from "./mtls-door.ts";
import { eventually, type World } from "./world.ts";

const root = makeAuthority("example.org");
const shortRoot = makeAuthority("example.org", { subject: "no intermediates", pathLength: 0 });
const constrainedRoot = makeAuthority("example.org", {
  subject: "constrained",
  permittedUriHosts: ["elsewhere.test"],
});
const foreignRoot = makeAuthority("factory.test");
let world: World;

beforeAll(async () => {
  world = await makeDoorWorld();
  for (const authority of [root, shortRoot, constrainedRoot]) await trustAuthority(world, authority);
  await world.admin.service(Bundle).batchSetFederatedBundle({
    bundle: [{ trustDomain: "factory.test", x509Authorities: [{ asn1: foreignRoot.der }] }],
  });
  await eventually(
    () => knock(world, shown(makeLeaf(FOREIGN_OPERATOR, foreignRoot))),
    (seen) => "grpcStatus" in seen,
  );
});

afterAll(() => world?.[Symbol.asyncDispose]());

const leaf = (spec: CertificateSpec = {}) => makeLeaf(OPERATOR, root, spec);
const intermediate = (spec: CertificateSpec = {}) =>
  makeAuthority("example.org", { subject: "intermediate", issuer: root, ...spec });
const knockWith = (...chain: readonly [FactoryCertificate, ...FactoryCertificate[]]) =>
  knock(world, shown(...chain));
const ADMITTED = { grpcStatus: 0 };

describe("leaves that must be accepted", () => {
  it.each<[string, string, () => FactoryCertificate]>([
    ["XS-03", "other names beside the URI", () => leaf({ dnsNames: ["a.test", "b.test"] })],
    ["XS-06", "an ordinary leaf", () => leaf()],
    ["XS-22", "digitalSignature alone", () => leaf({ keyUsage: ["digitalSignature"] })],
    ["XS-22", "keyEncipherment and keyAgreement", () => leaf()],
    [
      "XS-26",
      "a critical extended key usage",
      () =>
        leaf({
          replace: {
            "2.5.29.37": makeExtension(
              "2.5.29.37",
              true,
              der.sequence(der.oid("1.3.6.1.5.5.7.3.1"), der.oid("1.3.6.1.5.5.7.3.2")),
            ),
          },
        }),
    ],
    ["XS-05", "an empty subject with critical names", () => leaf({ subject: null })],
    ["XS-14", "no basicConstraints, which means no CA", () => leaf({ ca: null })],
  ])("%s takes %s", async (_line, _what, make) => {
    expect(await knockWith(make())).toEqual(ADMITTED);
  });

  it.each(["ec-p384", "ec-p521", "rsa-2048"] as const)(
    "XS-29 takes a leaf with a key of %s",
    async (kind) => {
      expect(await knockWith(leaf({ key: makeFactoryKey(kind) }))).toEqual(ADMITTED);
    },
  );

  it("XS-10 takes a leaf below an intermediate", async () => {
    const issuer = intermediate();
    expect(await knockWith(makeLeaf(OPERATOR, issuer), issuer)).toEqual(ADMITTED);
  });

  it("XS-12 counts intermediates as the authority allows", async () => {
    const allowed = intermediate({ pathLength: 0 });
    expect(await knockWith(makeLeaf(OPERATOR, allowed), allowed)).toEqual(ADMITTED);
  });
});

describe("leaves that must be refused", () => {
  it.each<[string, string, () => FactoryCertificate, RegExp]>([
    ["XS-02", "two SPIFFE IDs", () => leaf({ uris: [OPERATOR, `${OPERATOR}2`] }), /exactly one URI/],
    [
      "XS-02",
      "a second URI of another scheme",
      () => leaf({ uris: [OPERATOR, "https://a.test/"] }),
      /exactly one URI/,
    ],
    ["XS-02", "a second URI before the ID", () => leaf({ uris: ["urn:a:b", OPERATOR] }), /exactly one URI/],
    ["XS-02", "the same URI twice", () => leaf({ uris: [OPERATOR, OPERATOR] }), /exactly one URI/],
    ["XS-30", "cA", () => leaf({ ca: true, keyUsage: ["digitalSignature"] }), /must not be a CA/],
    ["XS-31", "keyCertSign", () => leaf({ keyUsage: ["digitalSignature", "keyCertSign"] }), /keyCertSign/],
    ["XS-31", "cRLSign", () => leaf({ keyUsage: ["digitalSignature", "cRLSign"] }), /cRLSign/],
    ["XS-32", "a web address", () => leaf({ uris: ["https://example.org/operator"] }), /scheme/],
    [
      "XS-32",
      "a scheme that only begins so",
      () => leaf({ uris: ["spiffe+x://example.org/operator"] }),
      /scheme/,
    ],
    ["XS-33", "no path", () => leaf({ uris: ["spiffe://example.org"] }), /path/],
    ["XS-33", "a lone slash for a path", () => leaf({ uris: ["spiffe://example.org/"] }), /trailing slash/],
    [
      "XS-06",
      "no URI at all",
      () => leaf({ uris: [], dnsNames: ["operator.example.org"] }),
      /exactly one URI/,
    ],
    ["XS-17", "no key usage", () => leaf({ keyUsage: null }), /keyUsage/],
    [
      "XS-21",
      "a key usage without digitalSignature",
      () => leaf({ keyUsage: ["keyAgreement"] }),
      /digitalSignature/,
    ],
  ])("%s refuses a leaf with %s", async (_line, _what, make, reason) => {
    expect(reasonOf(await knockWith(make()))).toMatch(reason);
  });

  it("XS-11 does not take an authority for a peer", async () => {
    expect(reasonOf(await knockWith(root))).toMatch(/must have a path/);
    const named = intermediate({ uris: [OPERATOR], keyUsage: ["digitalSignature", "keyCertSign"] });
    expect(reasonOf(await knockWith(named))).toMatch(/must not be a CA/);
  });
});

describe("paths that RFC 5280 does not allow", () => {
  it.each<[string, () => readonly [FactoryCertificate, ...FactoryCertificate[]], RegExp]>([
    ["an expired leaf", () => [leaf({ notBefore: -120, notAfter: -60 })], /expired/],
    ["a leaf of the future", () => [leaf({ notBefore: 600 })], /not valid yet/],
    [
      "a leaf of another key than its issuer's",
      () => [leaf({ signer: makeFactoryKey() })],
      /signature does not verify/,
    ],
    [
      "a leaf that names another issuer",
      () => [leaf({ issuerName: "somebody else" })],
      /no trusted authority/,
    ],
    [
      "a leaf of an unknown authority",
      () => [makeLeaf(OPERATOR, makeAuthority("example.org"))],
      /no trusted authority|signature/,
    ],
    ["a self-signed leaf", () => [makeCertificate({ uris: [OPERATOR] })], /no trusted authority/],
    [
      "an unknown critical extension",
      () => [leaf({ extensions: [makeExtension("1.3.6.1.4.1.65980.1", true, der.nullValue())] })],
      /unknown critical extension/,
    ],
    ["an expired intermediate", () => below(intermediate({ notBefore: -120, notAfter: -60 })), /expired/],
    ["an intermediate that is no CA", () => below(intermediate({ ca: false })), NO_ISSUER],
    ["an intermediate without basicConstraints", () => below(intermediate({ ca: null })), NO_ISSUER],
    ["an intermediate without keyCertSign", () => below(intermediate({ keyUsage: ["cRLSign"] })), NO_ISSUER],
    [
      "an intermediate below an authority that allows none",
      () => below(intermediate({ issuer: shortRoot })),
      /allows only 0/,
    ],
    ["a leaf that signs a leaf", () => below(leaf({ uris: [`${OPERATOR}-2`] })), NO_ISSUER],
    [
      "a signature with an algorithm that nobody should use",
      () => [leaf({ signatureAlgorithm: der.encode(der.sequence(der.oid("1.2.840.10045.4.1"))) })],
      /./,
    ],
  ])("XS-29 refuses %s", async (_what, make, reason) => {
    expect(reasonOf(await knockWith(...make()))).toMatch(reason);
  });

  it.each([0.2, 0.5, 0.8, 0.99])(
    "XS-29 refuses a leaf with a bit turned over at %s of its length",
    async (share) => {
      const good = leaf({ key: makeFactoryKey("rsa-2048") });
      const shownToServer = { ...shown(good), chain: [withFlippedBit(good, share).der] };
      expect(
        await knock(world, shownToServer).catch(() => ({ refused: "cannot even be shown" })),
      ).toHaveProperty("refused");
    },
  );

  it("XS-29 reads DER and not BER", () => {
    // TLS libraries write a certificate anew before they hand it on, so this is asked of the reader itself.
    const good = leaf();
    expect(readCertificate(good.der).der).toEqual(good.der);
    expect(() => readCertificate(withLongLength(good).der)).toThrowCode("INVALID_CERTIFICATE", /length/);
  });

  it("XS-15 refuses an ID outside the constraints of its authority", async () => {
    const outside = makeLeaf(OPERATOR, constrainedRoot);
    expect(reasonOf(await knockWith(outside))).toMatch(/name constraints/);
    const constrained = intermediate({ permittedUriHosts: ["elsewhere.test"] });
    expect(reasonOf(await knockWith(...below(constrained)))).toMatch(/name constraints/);
  });
});

describe("trust domains", () => {
  it("ID-26 accepts an SVID by an authority of its own trust domain only", async () => {
    expect(await knockWith(makeLeaf(FOREIGN_OPERATOR, foreignRoot))).toEqual(ADMITTED);
    expect(await knockWith(makeLeaf(OPERATOR, foreignRoot))).toHaveProperty("refused");
    expect(await knockWith(makeLeaf(FOREIGN_OPERATOR, root))).toHaveProperty("refused");
  });

  it("TB-02 validates a peer with the bundle of its trust domain and no other", async () => {
    const other = makeAuthority("factory.test", { issuer: root });
    expect(await knockWith(makeLeaf(FOREIGN_OPERATOR, other), other)).toHaveProperty("refused");
  });

  it("WA-20 refuses a peer of a trust domain that there is no bundle of", async () => {
    const stranger = makeLeaf("spiffe://unknown.test/operator", root);
    expect(reasonOf(await knockWith(stranger))).toMatch(/no bundle of trust domain/);
  });

  it("ID-25 takes no certificate for an SVID that is none", async () => {
    const ordinary = leaf({ uris: [], dnsNames: ["operator.example.org"], subject: "operator" });
    expect(await knockWith(ordinary)).toHaveProperty("refused");
  });
});

function below(issuer: FactoryCertificate): [FactoryCertificate, FactoryCertificate] {
  return [makeLeaf(OPERATOR, issuer), issuer];
}

/** The TLS library may leave out what cannot have issued the leaf, before we see it. */
const NO_ISSUER = /not a CA|may not sign|no trusted authority/;
