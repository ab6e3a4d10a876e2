import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isMemberOf, parseSpiffeId, pathOf, spiffeIdOf, trustDomainOf, tryParseSpiffeId } from "./id.ts";
import { parseTrustDomain, parseTrustDomainOrId, trustDomainUri } from "./trust-domain.ts";

const example = parseTrustDomain("example.org");

describe("SPIFFE-ID §2: parsing", () => {
  it.each([
    "spiffe://example.org",
    "spiffe://example.org/a",
    "spiffe://example.org/a/b/c",
    "spiffe://example.org/...",
    "spiffe://example.org/.a",
    "spiffe://example.org/a.",
    "spiffe://1.2.3.4/x",
    "spiffe://_under_score/x",
    "spiffe://-/x",
    "spiffe://a..b/x",
    "spiffe://localhost/x",
    "spiffe://example.org/A-z_0.9",
  ])("accepts %s", (text) => {
    expect(parseSpiffeId(text)).toBe(text);
  });

  it.each([
    ["", "empty"],
    ["/x", "scheme"],
    ["http://td/x", "scheme"],
    ["spiffe:/td/x", "scheme"],
    ["SPIFFE://td/x", "scheme"],
    ["Spiffe://td/x", "scheme"],
    ["spiffe://", "trust domain is missing"],
    ["spiffe:///x", "trust domain is missing"],
    ["spiffe://td/x?", "path segment"],
    ["spiffe://td/x?a=b", "path segment"],
    ["spiffe://td/x#f", "path segment"],
    ["spiffe://td#", "trust domain characters"],
    ["spiffe://td?q", "trust domain characters"],
    ["spiffe://u@td/x", "trust domain characters"],
    ["spiffe://u:p@td/x", "trust domain characters"],
    ["spiffe://td:80/x", "trust domain characters"],
    ["spiffe://td:/x", "trust domain characters"],
    ["spiffe://TD/x", "trust domain characters"],
    ["spiffe://a%62c/x", "trust domain characters"],
    ["spiffe://[::1]/x", "trust domain characters"],
    ["spiffe://td/a%20b", "path segment"],
    ["spiffe://td/%2e", "path segment"],
    ["spiffe://td//x", "empty segments"],
    ["spiffe://td/a//b", "empty segments"],
    ["spiffe://td/.", "dot segments"],
    ["spiffe://td/..", "dot segments"],
    ["spiffe://td/../a", "dot segments"],
    ["spiffe://td/a/./b", "dot segments"],
    ["spiffe://td/", "trailing slash"],
    ["spiffe://td/a/", "trailing slash"],
    ["spiffe://td/é", "path segment"],
    ["spiffe://td/a\u0000", "path segment"],
    ["spiffe://tд/a", "trust domain characters"],
  ])("refuses %s", (text, detail) => {
    expect(() => parseSpiffeId(text)).toThrowCode("INVALID_SPIFFE_ID", detail);
    expect(tryParseSpiffeId(text)).toBeUndefined();
  });

  it("accepts exactly 39 of the 256 byte values in the trust domain", () => {
    const accepted = allBytes().filter((c) => tryParseSpiffeId(`spiffe://a${c}b/x`) !== undefined);
    // A slash ends the trust domain, so the text with it is a legal ID of another domain.
    expect(accepted.filter((c) => c !== "/").join("")).toBe("-.0123456789_abcdefghijklmnopqrstuvwxyz");
  });

  it("accepts exactly 65 of the 256 byte values in a path segment, and the slash between segments", () => {
    const accepted = allBytes().filter((c) => tryParseSpiffeId(`spiffe://td/a${c}b`) !== undefined);
    expect(accepted.filter((c) => c !== "/").join("")).toBe(
      "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
    );
    expect(accepted).toContain("/");
  });

  it("holds IDs of up to 2048 bytes and no longer", () => {
    const longest = `spiffe://td/${"a".repeat(2048 - "spiffe://td/".length)}`;
    expect(parseSpiffeId(longest)).toHaveLength(2048);
    expect(() => parseSpiffeId(`${longest}a`)).toThrowCode("INVALID_SPIFFE_ID", "2048");
  });

  it("holds trust domains of up to 255 bytes and no longer", () => {
    expect(parseTrustDomain("a".repeat(255))).toHaveLength(255);
    expect(() => parseTrustDomain("a".repeat(256))).toThrowCode("INVALID_TRUST_DOMAIN", "255");
    expect(() => parseSpiffeId(`spiffe://${"a".repeat(256)}/x`)).toThrowCode("INVALID_SPIFFE_ID", "255");
  });

  it("keeps paths that differ in case apart", () => {
    expect(parseSpiffeId("spiffe://td/A")).not.toBe(parseSpiffeId("spiffe://td/a"));
  });
});

describe("the parts of an ID", () => {
  it("takes an ID apart and puts it together", () => {
    fc.assert(
      fc.property(trustDomains, paths, (domain, path) => {
        const id = spiffeIdOf(parseTrustDomain(domain), path);
        expect(id).toBe(`spiffe://${domain}${path}`);
        expect(trustDomainOf(id)).toBe(domain);
        expect(pathOf(id)).toBe(path);
        expect(parseSpiffeId(id)).toBe(id);
      }),
    );
  });

  it("throws nothing but its own error, whatever the text", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.string().map((s) => `spiffe://${s}`),
        ),
        (text) => {
          const id = tryParseSpiffeId(text);
          expect(id === undefined || /^spiffe:\/\/[a-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(text)).toBe(true);
          if (id === undefined) expect(() => parseSpiffeId(text)).toThrowCode("INVALID_SPIFFE_ID");
        },
      ),
    );
  });

  it("tells members of a trust domain from others", () => {
    expect(isMemberOf(parseSpiffeId("spiffe://example.org/a"), example)).toBe(true);
    expect(isMemberOf(parseSpiffeId("spiffe://example.org.evil/a"), example)).toBe(false);
    expect(isMemberOf(parseSpiffeId("spiffe://example"), example)).toBe(false);
  });
});

describe("trust domains", () => {
  it("reads a name and the ID that stands for it", () => {
    expect(parseTrustDomainOrId("example.org")).toBe("example.org");
    expect(parseTrustDomainOrId("spiffe://example.org")).toBe("example.org");
    expect(trustDomainUri(example)).toBe("spiffe://example.org");
  });

  it.each(["spiffe://example.org/", "spiffe://example.org/a", "https://example.org", "Example.org", ""])(
    "refuses %s",
    (text) => {
      expect(() => parseTrustDomainOrId(text)).toThrowCode("INVALID_TRUST_DOMAIN");
    },
  );
});

function allBytes(): string[] {
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
}

const trustDomains = fc.stringMatching(/^[a-z0-9._-]{1,40}$/);
const paths = fc
  .array(
    fc.stringMatching(/^[A-Za-z0-9._-]{1,12}$/).filter((segment) => segment !== "." && segment !== ".."),
    { maxLength: 5 },
  )
  .map((segments) => segments.map((segment) => `/${segment}`).join(""));
