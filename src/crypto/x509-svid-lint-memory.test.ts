import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeKey } from "../../test/fakes/certificates.ts";
import { subjectKeyIdentifier } from "./keys.ts";
import { type ExpectedLeaf, X509SvidLint } from "./x509-svid-lint-memory.ts";
import { lintX509SvidTbs } from "./x509-svid-lint.ts";
import { createX509SvidTemplate, type X509SvidFields } from "./x509-svid-template.ts";
import { spireName, writeName } from "./x501-name.ts";

const NOW = 1_800_000_000;
const authority = {
  issuer: writeName(spireName("SPIFFE")),
  authorityKeyId: new Uint8Array(20).fill(7),
  signatureAlgorithm: "ecdsa-sha256",
} as const;
const expectedAuthority = { ...authority, authorityNotAfter: NOW + 86_400 };
const template = createX509SvidTemplate(authority);
const [first, second] = [makeKey(), makeKey()];
const leaf = (spki: Uint8Array, more: Partial<X509SvidFields> = {}): X509SvidFields => ({
  spki,
  subjectKeyId: subjectKeyIdentifier(spki),
  spiffeId: "spiffe://example.org/one",
  dnsNames: [],
  serial: Uint8Array.of(0x91, 2, 3, 4),
  notBefore: NOW,
  notAfter: NOW + 3600,
  ...more,
});
const another = leaf(second.spki, {
  spiffeId: "spiffe://example.org/two",
  serial: Uint8Array.of(0x80, 0, 0, 1),
});

/** The lint of an authority that has seen `seen` pass. */
function experienced(seen: X509SvidFields): X509SvidLint {
  const lint = new X509SvidLint(expectedAuthority);
  expect(lint.findings(template.build(seen), seen)).toEqual([]);
  return lint;
}

describe("X509SvidLint", () => {
  it("lets a leaf pass that is like one that passed, but for serial number, key and SPIFFE ID", () => {
    const lint = experienced(leaf(first.spki));
    expect(lint.findings(template.build(another), another)).toEqual([]);
  });

  it.each([
    ["", {}],
    [" with DNS names", { dnsNames: ["a.example", "b.example"] }],
  ])("finds in every changed octet of a leaf%s what the full lint finds", (_, more) => {
    const wanted = { ...another, ...more };
    const tbs = template.build(wanted);
    for (let at = 0; at < tbs.length; at++) {
      const lint = experienced(leaf(first.spki, more));
      for (const change of [0x01, 0x20, 0x80, 0xff]) {
        const changed = Buffer.from(tbs);
        changed[at] = (changed[at] as number) ^ change;
        expect(lint.findings(changed, wanted)).toEqual(
          lintX509SvidTbs(changed, { ...expectedAuthority, ...wanted }),
        );
      }
    }
  });

  it.each<[string, Partial<ExpectedLeaf>]>([
    ["another SPIFFE ID", { spiffeId: "spiffe://example.org/six" }],
    ["a SPIFFE ID of another length", { spiffeId: "spiffe://example.org/three" }],
    ["another key", { spki: first.spki }],
    ["another serial number", { serial: Uint8Array.of(0x80, 0, 0, 2) }],
    ["an earlier end", { notAfter: NOW + 3599 }],
    ["a DNS name", { dnsNames: ["a.example"] }],
  ])("does not let a leaf pass where %s was decided on", (_, change) => {
    const lint = experienced(leaf(first.spki));
    const wanted = { ...another, ...change };
    const findings = lint.findings(template.build(another), wanted);
    expect(findings).not.toEqual([]);
    expect(findings).toEqual(lintX509SvidTbs(template.build(another), { ...expectedAuthority, ...wanted }));
  });

  it.each([
    ["another", ["b.example"]],
    ["no", []],
  ])("does not let a leaf with a DNS name pass where %s was decided on", (_, dnsNames) => {
    const named = { ...another, dnsNames: ["a.example"] };
    const lint = experienced(leaf(first.spki, { dnsNames: ["a.example"] }));
    expect(lint.findings(template.build(named), { ...named, dnsNames })).not.toEqual([]);
  });

  it("does not let a SPIFFE ID pass that names no path, though another of its length did", () => {
    const id = "spiffe://example.org1234";
    expect(id).toHaveLength(another.spiffeId.length);
    const lint = experienced(leaf(first.spki));
    const wanted = { ...another, spiffeId: id };
    expect(lint.findings(template.build(wanted), wanted).map(({ rule }) => rule)).toEqual(["XS-04"]);
  });

  it("agrees with the full lint about serial numbers of every form", () => {
    const serials = fc.uint8Array({ minLength: 1, maxLength: 22 });
    fc.assert(
      fc.property(serials, serials, (serial, next) => {
        const lint = new X509SvidLint(expectedAuthority);
        for (const wanted of [leaf(first.spki, { serial }), { ...another, serial: next }]) {
          const tbs = template.build(wanted);
          expect(lint.findings(tbs, wanted)).toEqual(
            lintX509SvidTbs(tbs, { ...expectedAuthority, ...wanted }),
          );
        }
      }),
    );
  });

  it("looks at leaves in full again after more lengths than it remembers", () => {
    const lint = experienced(leaf(first.spki));
    for (let length = 1; length <= 600; length++) {
      const wanted = leaf(first.spki, { spiffeId: `spiffe://example.org/${"a".repeat(length)}` });
      expect(lint.findings(template.build(wanted), wanted)).toEqual([]);
    }
    const wrong = { ...another, notAfter: NOW + 86_401 };
    expect(lint.findings(template.build(wrong), wrong)).not.toEqual([]);
  });
});
