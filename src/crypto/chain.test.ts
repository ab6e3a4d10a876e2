import { describe, expect, it } from "vitest";
import {
  makeCertificate,
  makeExtension,
  makeKey,
  TEST_NOW,
  type TestCertificate,
} from "../../test/fakes/certificates.ts";
import { type Certificate, readCertificate } from "./certificate-reader.ts";
import { type ChainToVerify, verifyChain } from "./chain.ts";
import { openDer, SEQUENCE } from "./der/reader.ts";
import * as der from "./der/writer.ts";
import { validateX509Svid } from "./x509-svid.ts";

const rootKey = makeKey();
const middleKey = makeKey();
const leafKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true });
const makeMiddle = (wanted: Partial<TestCertificate> = {}, by: Certificate = root) =>
  makeCertificate({
    subject: "middle",
    key: middleKey,
    ca: true,
    issuer: { certificate: by, key: rootKey },
    ...wanted,
  });
const middle = makeMiddle();
const makeLeaf = (wanted: Partial<TestCertificate> = {}, by: Certificate = middle) =>
  makeCertificate({
    subject: "leaf",
    key: leafKey,
    uris: ["spiffe://example.org/x"],
    issuer: { certificate: by, key: middleKey },
    ...wanted,
  });
const leaf = makeLeaf();
const good: ChainToVerify = { leaf, intermediates: [middle], roots: [root], at: TEST_NOW };
const subjects = (path: readonly Certificate[]) =>
  path.map(({ subject }) => Buffer.from(subject).toString("latin1", 13));
const SHA1_WITH_RSA = der.sequence(der.oid("1.2.840.113549.1.1.5"), der.nullValue());
const unknownExtension = makeExtension("1.2.3.4", true, der.nullValue());

describe("verifyChain", () => {
  it("finds the path through an intermediate, in whatever order and company it comes", () => {
    const stranger = makeCertificate({ subject: "stranger", key: makeKey(), ca: true });
    const path = verifyChain({ ...good, intermediates: [stranger, root, middle], roots: [stranger, root] });
    expect(subjects(path)).toEqual(["leaf", "middle", "root"]);
  });

  it("trusts an anchor whose own signature is of a kind that nobody verifies any more", () => {
    const old = withSignatureAlgorithm(root, SHA1_WITH_RSA);
    expect(subjects(verifyChain({ ...good, roots: [old] }))).toEqual(["leaf", "middle", "root"]);
    expect(old.signatureAlgorithm.keyKind).toBe("unsupported");
  });

  it.each(["leaf", "intermediate"])("refuses such a signature on the %s", (role) => {
    const chain =
      role === "leaf"
        ? { ...good, leaf: withSignatureAlgorithm(leaf, SHA1_WITH_RSA) }
        : { ...good, intermediates: [withSignatureAlgorithm(middle, SHA1_WITH_RSA)] };
    expect(() => verifyChain(chain)).toThrowCode(
      "INVALID_CERTIFICATE",
      `${role} certificate has the signature algorithm 1.2.840.113549.1.1.5, which is not supported`,
    );
  });

  it("finds the path where no certificate has key identifiers", () => {
    const bareRoot = makeCertificate({ subject: "root", key: rootKey, ca: true, keyIdentifiers: false });
    const bareMiddle = makeMiddle({ keyIdentifiers: false }, bareRoot);
    const bareLeaf = makeLeaf({ keyIdentifiers: false }, bareMiddle);
    const path = verifyChain({ ...good, leaf: bareLeaf, intermediates: [bareMiddle], roots: [bareRoot] });
    expect(path).toHaveLength(3);
  });

  it.each<[string, Partial<ChainToVerify>, RegExp]>([
    ["an expired leaf", { leaf: makeLeaf({ notAfter: TEST_NOW - 1 }) }, /leaf certificate has expired/],
    [
      "a leaf that is not valid yet",
      { leaf: makeLeaf({ notBefore: TEST_NOW + 1 }) },
      /leaf certificate is not valid yet/,
    ],
    [
      "an expired intermediate",
      { intermediates: [makeMiddle({ notAfter: TEST_NOW - 1 })] },
      /intermediate .* expired/,
    ],
    [
      "an expired root",
      { roots: [makeCertificate({ subject: "root", key: rootKey, ca: true, notAfter: TEST_NOW - 1 })] },
      /root certificate has expired/,
    ],
    ["an intermediate without cA", { intermediates: [makeMiddle({ ca: false })] }, /not a CA certificate/],
    [
      "an intermediate without keyCertSign",
      { intermediates: [makeMiddle({ keyUsage: [1, 0x02] })] },
      /may not sign/,
    ],
    ["a leaf of another issuer", { leaf: makeLeaf({}, root) }, /signature does not verify|no trusted/],
    [
      "a leaf signed with another key",
      { leaf: makeLeaf({ issuer: { certificate: middle, key: makeKey() } }) },
      /trusted/,
    ],
    [
      "a forged signature under the right key identifier",
      { leaf: makeLeaf({ issuer: { certificate: middle, key: { ...middleKey, sign: makeKey().sign } } }) },
      /signature does not verify/,
    ],
    [
      "an unknown critical extension",
      { leaf: makeLeaf({ extensions: [unknownExtension] }) },
      /unknown critical extension 1\.2\.3\.4/,
    ],
    [
      "an unknown critical extension in an intermediate",
      { intermediates: [makeMiddle({ extensions: [unknownExtension] })] },
      /unknown critical extension/,
    ],
    [
      "empty name constraints",
      { intermediates: [makeMiddle({ extensions: [makeExtension("2.5.29.30", false, der.sequence())] })] },
      /name constraints/,
    ],
    [
      "a path longer than the root allows",
      { roots: [makeCertificate({ subject: "root", key: rootKey, ca: true, pathLength: 0 })] },
      /allows only 0 intermediate/,
    ],
    ["no intermediate", { intermediates: [] }, /no trusted authority/],
    ["no root", { roots: [] }, /no trusted authority/],
    [
      "a root that signed nothing here",
      { roots: [makeCertificate({ subject: "root", key: makeKey(), ca: true })] },
      /no trusted/,
    ],
    [
      "another purpose",
      { leaf: makeLeaf({ purposes: ["1.2.3"] }), requiredPurpose: "1.3.6.1.5.5.7.3.2" },
      /purpose/,
    ],
    ["too many intermediates", { intermediates: Array<Certificate>(17).fill(middle) }, /at most 16/],
  ])("refuses %s", (_, wanted, detail) => {
    expect(() => verifyChain({ ...good, ...wanted })).toThrowCode("INVALID_CERTIFICATE", detail);
  });

  it("accepts the ends of validity", () => {
    expect(verifyChain({ ...good, at: leaf.notBefore })).toHaveLength(3);
    expect(verifyChain({ ...good, at: leaf.notAfter })).toHaveLength(3);
  });

  it("goes by key identifier among 500 roots of one name", () => {
    const others = Array.from({ length: 500 }, () =>
      makeCertificate({ subject: "root", key: makeKey(), ca: true }),
    );
    // With a signature check for each root it would give up, as the next test shows.
    expect(verifyChain({ ...good, roots: [...others, root] })).toHaveLength(3);
  });

  it("gives up where certificates without key identifiers would need too many signature checks", () => {
    const many = Array.from({ length: 100 }, () =>
      makeCertificate({ subject: "middle", key: makeKey(), ca: true, keyIdentifiers: false }),
    );
    const bareLeaf = makeLeaf({ keyIdentifiers: false });
    expect(() => verifyChain({ ...good, leaf: bareLeaf, intermediates: [], roots: many })).toThrowCode(
      "INVALID_CERTIFICATE",
      /too many signature checks/,
    );
  });

  it("gives up on a web of authorities that vouch for one another", () => {
    const keys = Array.from({ length: 4 }, () => makeKey());
    const web = keys.flatMap((key, index) =>
      keys.map((by, other) =>
        makeCertificate({
          subject: `ca-${index}`,
          key,
          ca: true,
          issuer: { certificate: makeCertificate({ subject: `ca-${other}`, key: by, ca: true }), key: by },
        }),
      ),
    );
    const trapped = makeCertificate({
      subject: "x",
      key: leafKey,
      issuer: { certificate: web[0] as Certificate, key: keys[0] as typeof leafKey },
    });
    expect(() => verifyChain({ ...good, leaf: trapped, intermediates: web })).toThrowCode(
      "INVALID_CERTIFICATE",
    );
  });

  it("refuses a path of more than ten certificates", () => {
    let issuer = { certificate: root, key: rootKey };
    const intermediates: Certificate[] = [];
    for (let depth = 0; depth < 10; depth++) {
      const key = makeKey();
      issuer = { certificate: makeCertificate({ subject: `ca-${depth}`, key, ca: true, issuer }), key };
      intermediates.push(issuer.certificate);
    }
    const deep = makeCertificate({ subject: "deep", key: leafKey, issuer });
    expect(() => verifyChain({ ...good, leaf: deep, intermediates })).toThrowCode(
      "INVALID_CERTIFICATE",
      /longer than 10/,
    );
  });
});

describe("validateX509Svid", () => {
  const validate = (wanted: Partial<TestCertificate>) =>
    validateX509Svid([makeLeaf(wanted), middle], [root], TEST_NOW);

  it("returns the SPIFFE ID of a good chain", () => {
    expect(validate({})).toMatchObject({ spiffeId: "spiffe://example.org/x", notAfter: TEST_NOW + 3600 });
  });

  it.each<[string, Partial<TestCertificate>, RegExp]>([
    ["two URIs", { uris: ["spiffe://example.org/x", "https://example.org/"] }, /exactly one URI, has 2/],
    ["no URI", { uris: [], dnsNames: ["x.example"] }, /exactly one URI, has 0/],
    ["another scheme", { uris: ["https://example.org/x"] }, /scheme/],
    ["no path", { uris: ["spiffe://example.org"] }, /path/],
    ["a root path", { uris: ["spiffe://example.org/"] }, /trailing slash/],
    ["cA", { ca: true, keyUsage: [7, 0x80] }, /must not be a CA/],
    ["keyCertSign", { keyUsage: [2, 0x84] }, /keyCertSign/],
    ["cRLSign", { keyUsage: [1, 0x82] }, /cRLSign/],
    ["no keyUsage", { keyUsage: null }, /keyUsage/],
    ["an expired leaf", { notAfter: TEST_NOW - 1 }, /expired/],
  ])("refuses %s", (_, wanted, detail) => {
    expect(() => validate(wanted)).toThrowCode("INVALID_CERTIFICATE", detail);
  });

  it("refuses an authority shown as an SVID", () => {
    expect(() => validateX509Svid([middle], [root], TEST_NOW)).toThrowCode("INVALID_CERTIFICATE");
    expect(() => validateX509Svid([], [root], TEST_NOW)).toThrowCode("INVALID_CERTIFICATE", /no certificate/);
  });
});

/** The certificate with another algorithm in both places, read again; its signature no longer verifies. */
function withSignatureAlgorithm(certificate: Certificate, algorithm: der.Der): Certificate {
  const outer = openDer(certificate.der, "INTERNAL", 65_536, "certificate").enter(SEQUENCE, "certificate");
  const fields = outer.enter(SEQUENCE, "TBSCertificate");
  const parts: der.Der[] = [];
  while (fields.more()) parts.push(fields.anyElement("field"));
  // version, serialNumber, signature.
  parts[2] = algorithm;
  const whole = der.sequence(der.sequence(...parts), algorithm, der.bitString(certificate.signature));
  return readCertificate(der.encode(whole));
}
