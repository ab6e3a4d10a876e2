import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normalTargetUri } from "./target-uri.ts";

describe("normalTargetUri (RFC 3986 §6.2)", () => {
  it.each([
    ["https://assay.example/oauth2/token", "https://assay.example/oauth2/token"],
    ["HTTPS://Assay.EXAMPLE:443/oauth2/token?a=b#c", "https://assay.example/oauth2/token"],
    ["https://assay.example", "https://assay.example/"],
    ["https://assay.example:/", "https://assay.example/"],
    ["http://assay.example:80?x", "http://assay.example/"],
    ["http://assay.example:443/", "http://assay.example:443/"],
    ["https://assay.example:08443/", "https://assay.example:8443/"],
    ["https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"],
    ["https://a/%7Euser/%c3%a9/%2f", "https://a/~user/%C3%A9/%2F"],
    ["https://a/b/../c/./d", "https://a/c/d"],
    ["https://a/b/%2e%2E/c/.", "https://a/c/"],
    ["https://a/../..", "https://a/"],
    ["https://a//b/", "https://a//b/"],
  ])("reads %s as %s", (given, normal) => {
    expect(normalTargetUri(given)).toBe(normal);
  });

  it.each([
    "",
    "/v1/task",
    "//a/b",
    "ftp://a/",
    "https:a/b",
    "https:///a",
    "https://user@a/",
    "https://a:65536/",
    "https://a:123456/",
    "https://a\\b/",
    "https://a/ b",
    "https://a/\tb",
    "https://a/b\n",
    " https://a/",
    "https://a/%zz",
    "https://a/%2",
    "https://é/",
    "https://a/é",
    `https://a/${"x".repeat(2048)}`,
  ])("does not read %j", (given) => {
    expect(normalTargetUri(given)).toBeUndefined();
  });

  it("gives what it gave before for what it gave, and where it reads a URI, the browser's reader agrees", () => {
    const part = fc.constantFrom(
      "a",
      "/",
      "..",
      ".",
      "%2e",
      "%41",
      "%2F",
      "%e9",
      "~",
      ";",
      "?",
      "#",
      ":",
      "@",
      "B",
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const normal = normalTargetUri(`https://h/${parts.join("")}`);
        if (normal === undefined) return;
        expect(normalTargetUri(normal)).toBe(normal);
        const browser = new URL(`https://h/${parts.join("")}`);
        expect(decodeAll(new URL(normal).pathname)).toBe(decodeAll(browser.pathname));
      }),
      { numRuns: 2000 },
    );
  });
});

function decodeAll(path: string): string {
  return path.replaceAll(/%([0-9a-f]{2})/gi, (_, octet: string) =>
    String.fromCharCode(Number.parseInt(octet, 16)),
  );
}
