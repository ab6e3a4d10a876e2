import { describe, expect, it } from "vitest";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import * as der from "../../crypto/der/writer.ts";
import type { UpstreamX509Ca } from "../../plugin/upstream-authority.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import {
  makeCertificate,
  makeExtension,
  makeKey,
  TEST_NOW,
  type TestCertificate,
} from "../../../test/fakes/certificates.ts";
import { checkUpstreamCa, checkUpstreamRoots } from "./check-answer.ts";

const trustDomain = parseTrustDomain("example.org");
const rootKey = makeKey();
const middleKey = makeKey();
const ownKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true, notAfter: TEST_NOW + 9000 });
const middle = makeMiddle();
const question = { trustDomain, publicKey: ownKey.spki, now: TEST_NOW };

describe("what an upstream authority answers", () => {
  it("is taken where everything fits, with the root that it leads to", () => {
    const checked = checkUpstreamCa(answer([makeOwn(), middle], [makeStranger(), root]), question);
    expect(checked.chain).toHaveLength(2);
    expect(checked.root.id).toBe(Buffer.from(root.subjectKeyId ?? []).toString("hex"));
    expect(checked.roots).toHaveLength(2);
    expect(checked).toMatchObject({ notBefore: TEST_NOW - 60, notAfter: TEST_NOW + 3600 });
  });

  it("is taken from a root directly, and with usages that others put into a CA's certificate", () => {
    const own = makeOwn({ keyUsage: [1, 0x86] }, { certificate: root, key: rootKey });
    expect(checkUpstreamCa(answer([own], [root]), question).chain).toHaveLength(1);
  });

  it("is taken with name constraints that permit the trust domain", () => {
    const bound = makeMiddle({ extensions: [constraints("example.org")] });
    expect(checkUpstreamCa(answer([makeOwn({}, of(bound)), bound], [root]), question).chain).toHaveLength(2);
  });

  it("is taken with a path length that leaves room for it", () => {
    const bound = makeMiddle({ pathLength: 1 });
    const own = makeOwn({ pathLength: 0 }, of(bound));
    expect(checkUpstreamCa(answer([own, bound], [root]), question).chain).toHaveLength(2);
  });

  it.each(faults())("is refused with %s", (_, bad, detail) => {
    expect(() => checkUpstreamCa(bad, question)).toThrowCode("UPSTREAM_REFUSED", detail);
  });
});

describe("roots upstream", () => {
  it("that have ended count for nothing", () => {
    const brief = makeCertificate({
      subject: "old",
      key: makeKey(),
      ca: true,
      notBefore: 1,
      notAfter: TEST_NOW,
    });
    const many = rootsOf([...Array<Certificate>(300).fill(brief), root]);
    expect(checkUpstreamRoots(many, TEST_NOW)).toHaveLength(1);
  });

  it("that have ended are left out", () => {
    const old = makeCertificate({
      subject: "old",
      key: makeKey(),
      ca: true,
      notBefore: 1,
      notAfter: TEST_NOW,
    });
    expect(checkUpstreamRoots(rootsOf([old, root]), TEST_NOW).map(({ certificate }) => certificate)).toEqual([
      root.der,
    ]);
  });
});

type Issuer = NonNullable<TestCertificate["issuer"]>;

function makeOwn(more: Partial<TestCertificate> = {}, issuer: Issuer = of(middle)): Certificate {
  return makeCertificate({
    subject: "own",
    key: ownKey,
    ca: true,
    uris: ["spiffe://example.org"],
    issuer,
    ...more,
  });
}

function makeMiddle(
  more: Partial<TestCertificate> = {},
  issuer: Issuer = { certificate: root, key: rootKey },
): Certificate {
  return makeCertificate({ subject: "middle", key: middleKey, ca: true, issuer, ...more });
}

function makeStranger(): Certificate {
  return makeCertificate({ subject: "stranger", key: makeKey(), ca: true });
}

function of(certificate: Certificate): Issuer {
  return { certificate, key: middleKey };
}

function constraints(host: string): der.Der {
  const subtree = der.sequence(der.primitive(0x86, host));
  return makeExtension("2.5.29.30", true, der.sequence(der.constructed(0xa0, [subtree])));
}

function answer(chain: readonly Certificate[], roots: readonly Certificate[]): UpstreamX509Ca {
  return { chain: chain.map(({ der: bytes }) => bytes), roots: rootsOf(roots) };
}

function rootsOf(roots: readonly Certificate[]) {
  return roots.map(({ der: certificate }) => ({ certificate, tainted: false }));
}

function faults(): readonly (readonly [string, UpstreamX509Ca, RegExp])[] {
  const direct = { certificate: root, key: rootKey };
  const shortRoot = makeCertificate({ subject: "root", key: rootKey, ca: true, pathLength: 0 });
  const tight = makeMiddle({ pathLength: 0 });
  const tightRoot = makeCertificate({ subject: "root", key: rootKey, ca: true, pathLength: 1 });
  const elsewhere = makeMiddle({ extensions: [constraints("other.org")] });
  const foreignNames = makeMiddle({
    extensions: [
      makeExtension(
        "2.5.29.30",
        true,
        der.sequence(der.constructed(0xa0, [der.sequence(der.primitive(0x82, "example.org"))])),
      ),
    ],
  });
  const brokenNames = makeOwn({ extensions: [makeExtension("2.5.29.30", true, der.nullValue())] }, direct);
  const ended = makeMiddle({ notBefore: TEST_NOW - 100, notAfter: TEST_NOW - 1 });
  const brief = makeMiddle({ notAfter: TEST_NOW + 100 });
  const noCa = makeMiddle({ ca: false });
  const noSign = makeMiddle({ keyUsage: [1, 0x02] });
  return [
    ["no certificate", answer([], [root]), /count: the answer holds no certificate/],
    ["too many certificates", answer(Array(9).fill(middle), [root]), /count: the chain must have at most 8/],
    [
      "bytes that are no certificate",
      { chain: [Uint8Array.of(1, 2)], roots: rootsOf([root]) },
      /RFC5280-4\.1/,
    ],
    ["no root", answer([makeOwn(), middle], []), /count: there must be at least one root/],
    [
      "too many roots",
      answer([makeOwn(), middle], Array(257).fill(root)),
      /count: there must be at most 256 roots/,
    ],
    [
      "more roots than are read at all",
      answer([makeOwn(), middle], Array(2049).fill(ended)),
      /count: there must be at most 2048 roots, ended ones among them/,
    ],
    ["a foreign key", answer([makeOwn({ key: makeKey() }), middle], [root]), /key: .*another key/],
    ["another trust domain", answer([makeOwn({ uris: ["spiffe://other.org"] }), middle], [root]), /XS-08/],
    ["a path in its name", answer([makeOwn({ uris: ["spiffe://example.org/a"] }), middle], [root]), /XS-08/],
    [
      "two names",
      answer([makeOwn({ uris: ["spiffe://example.org", "spiffe://other.org"] }), middle], [root]),
      /XS-01/,
    ],
    ["no name", answer([makeOwn({ uris: [] }), middle], [root]), /XS-01/],
    ["no CA", answer([makeOwn({ ca: false }), middle], [root]), /XS-13/],
    [
      "a CA that may not sign certificates",
      answer([makeOwn({ keyUsage: [1, 0x02] }), middle], [root]),
      /XS-19/,
    ],
    ["no keyUsage", answer([makeOwn({ keyUsage: null }), middle], [root]), /XS-17/],
    ["no key identifiers", answer([makeOwn({ keyIdentifiers: false }), middle], [root]), /RFC5280-4\.2\.1/],
    [
      "purposes without clientAuth",
      answer([makeOwn({ purposes: ["1.3.6.1.5.5.7.3.1"] }), middle], [root]),
      /XS-28/,
    ],
    [
      "an end in the past",
      answer([makeOwn({ notBefore: TEST_NOW - 50, notAfter: TEST_NOW - 1 }), middle], [root]),
      /RFC5280-6\.1: leaf certificate has expired/,
    ],
    [
      "a beginning in the future",
      answer([makeOwn({ notBefore: TEST_NOW + 100 }), middle], [root]),
      /not valid yet/,
    ],
    [
      "an expired certificate on the way",
      answer([makeOwn({}, of(ended)), ended], [root]),
      /intermediate certificate has expired/,
    ],
    [
      "a life longer than that of who signed it",
      answer([makeOwn({}, of(brief)), brief], [root]),
      /RFC5280-6\.1: the CA certificate ends after chain\/1/,
    ],
    [
      "a certificate on the way that outlives the root",
      answer([makeOwn(), makeMiddle({ notAfter: TEST_NOW + 9001 })], [root]),
      /chain\/1 ends after the root/,
    ],
    [
      "a signature of somebody else",
      answer([makeOwn({}, { certificate: middle, key: makeKey() }), middle], [root]),
      /RFC5280-6\.1/,
    ],
    [
      "a chain that does not chain",
      answer([makeOwn({}, direct), middle], [root]),
      /each certificate signed by the next/,
    ],
    [
      "a chain in the wrong order",
      answer([makeOwn(), makeStranger(), middle], [root]),
      /each certificate signed by the next/,
    ],
    ["a gap", answer([makeOwn()], [root]), /no trusted authority/],
    ["the root at the end of the chain", answer([makeOwn(), middle, root], [root]), /below a root/],
    [
      "a chain to a root that is not among them",
      answer([makeOwn(), middle], [makeStranger()]),
      /no trusted authority/,
    ],
    ["one on the way that is no CA", answer([makeOwn({}, of(noCa)), noCa], [root]), /not a CA certificate/],
    [
      "one on the way that may not sign",
      answer([makeOwn({}, of(noSign)), noSign], [root]),
      /may not sign certificates/,
    ],
    [
      "a root that allows no CA below it",
      answer([makeOwn({}, { certificate: shortRoot, key: rootKey })], [shortRoot]),
      /RFC5280-4\.2\.1\.9: the root allows only 0 CAs/,
    ],
    [
      "one on the way that allows no CA below it",
      answer([makeOwn({}, of(tight)), tight], [root]),
      /RFC5280-4\.2\.1\.9: chain\/1 allows only 0/,
    ],
    [
      "a root that allows one CA less than there are",
      answer([makeOwn(), makeMiddle({}, { certificate: tightRoot, key: rootKey })], [tightRoot]),
      /RFC5280-4\.2\.1\.9: the root allows only 1/,
    ],
    [
      "name constraints for another trust domain",
      answer([makeOwn({}, of(elsewhere)), elsewhere], [root]),
      /name constraints/,
    ],
    [
      "name constraints of its own for another trust domain",
      answer([makeOwn({ extensions: [constraints("other.org")] }, direct)], [root]),
      /XS-15: name constraints of the CA certificate do not permit the trust domain example\.org/,
    ],
    [
      "name constraints on other names",
      answer([makeOwn({}, of(foreignNames)), foreignNames], [root]),
      /names other than URIs/,
    ],
    [
      "name constraints that cannot be read",
      answer([brokenNames], [root]),
      /name constraints of the CA certificate cannot be read/,
    ],
    [
      "an expired root",
      answer(
        [makeOwn(), middle],
        [
          makeCertificate({
            subject: "root",
            key: rootKey,
            ca: true,
            notBefore: TEST_NOW - 9,
            notAfter: TEST_NOW,
          }),
        ],
      ),
      /at least one root that has not expired/,
    ],
    [
      "a root that is no CA",
      answer([makeOwn(), middle], [makeCertificate({ subject: "root", key: rootKey })]),
      /XS-13: roots\/0/,
    ],
    [
      "a root that nobody could name",
      answer(
        [makeOwn(), middle],
        [makeCertificate({ subject: "root", key: rootKey, ca: true, keyIdentifiers: false })],
      ),
      /RFC5280-4\.2\.1\.2: roots\/0/,
    ],
  ];
}
