import { describe, expect, it } from "vitest";
import { type Certificate, readCertificate } from "./certificate-reader.ts";
import { verifyChain } from "./chain.ts";
import * as der from "./der/writer.ts";
import { permitsUri, readUriConstraints, writeUriConstraint } from "./name-constraints.ts";
import { makeCertificate, makeExtension, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";

const CONSTRAINTS = "2.5.29.30";
const rootKey = makeKey();
const middleKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true });

describe("name constraints of a CA", () => {
  it("permit the one trust domain they were written for", () => {
    const constraints = readUriConstraints(der.encode(writeUriConstraint("example.org")));
    expect(constraints).toEqual({ permitted: ["example.org"], excluded: [], hasOthers: false });
    expect(permitsUri(constraints, "spiffe://example.org/a")).toBe(true);
    expect(permitsUri(constraints, "spiffe://example.org")).toBe(true);
    for (const uri of [
      "spiffe://other.org/a",
      "spiffe://a.example.org/a",
      "spiffe://other.org/example.org",
      "spiffe://other.org#@example.org",
      "urn:example.org",
      "",
    ]) {
      expect(permitsUri(constraints, uri), uri).toBe(false);
    }
  });

  it.each([
    [{ permitted: [".example.org"] }, "spiffe://a.example.org/x", true],
    [{ permitted: [".example.org"] }, "spiffe://example.org/x", false],
    [{ permitted: ["EXAMPLE.org"] }, "spiffe://example.org/x", true],
    [{ permitted: ["other.org", "example.org"] }, "spiffe://example.org/x", true],
    [{ excluded: ["example.org"] }, "spiffe://example.org/x", false],
    [{ excluded: ["other.org"] }, "spiffe://example.org/x", true],
    [{ permitted: ["example.org"], excluded: ["example.org"] }, "spiffe://example.org/x", false],
  ])("%o on %s: %s", (hosts, uri, outcome) => {
    expect(permitsUri(readUriConstraints(der.encode(constraintsOf(hosts))), uri)).toBe(outcome);
  });

  it("that say nothing of URIs permit every URI, and say that there is more", () => {
    const value = der.sequence(der.constructed(0xa0, [der.sequence(der.primitive(0x82, "example.org"))]));
    const constraints = readUriConstraints(der.encode(value));
    expect(constraints).toEqual({ permitted: undefined, excluded: [], hasOthers: true });
    expect(permitsUri(constraints, "spiffe://example.org/x")).toBe(true);
  });

  it.each([
    ["nothing in them", der.sequence(), /must not be empty/],
    ["an empty list", der.sequence(der.constructed(0xa0, [])), /empty list/],
    [
      "a minimum",
      der.sequence(
        der.constructed(0xa0, [
          der.sequence(der.primitive(0x86, "a.org"), der.primitive(0x80, Uint8Array.of(1))),
        ]),
      ),
      /name subtree/,
    ],
    [
      "too many subtrees",
      der.sequence(
        der.constructed(
          0xa0,
          Array.from({ length: 257 }, () => der.sequence(der.primitive(0x86, "a.org"))),
        ),
      ),
      /at most 256/,
    ],
  ])("with %s are refused", (_, value, detail) => {
    expect(() => readUriConstraints(der.encode(value))).toThrowCode("INVALID_CERTIFICATE", detail);
  });
});

describe("a path below a CA with name constraints", () => {
  it("is good where every URI is permitted", () => {
    expect(verify(middle({ permitted: ["example.org"] }), leaf("spiffe://example.org/a"))).toHaveLength(3);
  });

  it.each([
    ["a leaf outside of what is permitted", { permitted: ["other.org"] }],
    ["a leaf that is excluded", { excluded: ["example.org"] }],
  ])("is refused with %s", (_, hosts) => {
    expect(() => verify(middle(hosts), leaf("spiffe://example.org/a"))).toThrowCode(
      "INVALID_CERTIFICATE",
      /intermediate certificate has name constraints that do not permit/,
    );
  });

  it("is refused where a CA on the way is outside of it", () => {
    const constrained = makeCertificate({
      subject: "root",
      key: rootKey,
      ca: true,
      extensions: [makeExtension(CONSTRAINTS, true, constraintsOf({ permitted: ["example.org"] }))],
    });
    const stranger = makeCertificate({
      subject: "middle",
      key: middleKey,
      ca: true,
      issuer: { certificate: constrained, key: rootKey },
      uris: ["spiffe://other.org"],
    });
    expect(() => verify(stranger, leaf("spiffe://example.org/a"), constrained)).toThrowCode(
      "INVALID_CERTIFICATE",
      /root certificate has name constraints that do not permit/,
    );
  });

  it("is refused where the constraints are about other names, which nobody evaluates", () => {
    const value = der.sequence(der.constructed(0xa0, [der.sequence(der.primitive(0x82, "example.org"))]));
    const dns = makeCertificate({
      subject: "middle",
      key: middleKey,
      ca: true,
      issuer: { certificate: root, key: rootKey },
      extensions: [makeExtension(CONSTRAINTS, true, value)],
    });
    expect(() => verify(dns, leaf("spiffe://example.org/a"))).toThrowCode(
      "INVALID_CERTIFICATE",
      /names other than URIs/,
    );
  });

  function middle(hosts: Hosts): Certificate {
    return makeCertificate({
      subject: "middle",
      key: middleKey,
      ca: true,
      issuer: { certificate: root, key: rootKey },
      extensions: [makeExtension(CONSTRAINTS, true, constraintsOf(hosts))],
    });
  }

  function leaf(uri: string): Certificate {
    const issuer = makeCertificate({ subject: "middle", key: middleKey, ca: true });
    const key = makeKey();
    return makeCertificate({
      subject: "leaf",
      key,
      issuer: { certificate: issuer, key: middleKey },
      uris: [uri],
    });
  }

  function verify(intermediate: Certificate, of: Certificate, anchor = root) {
    return verifyChain({
      leaf: readCertificate(of.der),
      intermediates: [intermediate],
      roots: [anchor],
      at: TEST_NOW,
    });
  }
});

interface Hosts {
  readonly permitted?: readonly string[];
  readonly excluded?: readonly string[];
}

function constraintsOf({ permitted, excluded }: Hosts): der.Der {
  const list = (tag: number, hosts: readonly string[] | undefined) =>
    hosts === undefined
      ? []
      : [
          der.constructed(
            tag,
            hosts.map((host) => der.sequence(der.primitive(0x86, host))),
          ),
        ];
  return der.sequence(...list(0xa0, permitted), ...list(0xa1, excluded));
}
