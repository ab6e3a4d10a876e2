import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseHttpsUrl, redirectTarget, serverOf } from "./https-url.ts";

describe("an https URL", () => {
  it.each([
    ["https://b.example", "https://b.example/"],
    ["https://b.example:8443/", "https://b.example:8443/"],
    ["HTTPS://B.Example/Bundle?x=1", "https://b.example/Bundle?x=1"],
    ["https://[2606:4700::1111]/", "https://[2606:4700::1111]/"],
    ["https://0x7f.1/", "https://127.0.0.1/"],
  ])("is read from %s as %s", (text, url) => {
    expect(parseHttpsUrl(text)).toBe(url);
  });

  it.each([
    ["http://b.example/", /https scheme/],
    ["ftp://b.example/", /https scheme/],
    ["file:///etc/passwd", /https scheme/],
    ["b.example/bundle", /https scheme/],
    ["https:b.example", /must specify the host/],
    ["https:///bundle", /must specify the host/],
    ["https://", /must specify the host/],
    ["https://:443/", /must specify the host/],
    ["https://u:p@b.example/", /user info/],
    ["https://u@b.example/", /user info/],
    ["https://@b.example/", /user info/],
    ["https://:@b.example/", /host|user info/],
    ["https://b.example/#top", /fragment/],
    ["https://b.example:99999/", /malformed/],
    ["https://b.example:0/", /port 0/],
    ["https://b exa.mple/", /ASCII/],
    ["https://b.example\\@evil.example/", /backslash/],
    ["https://b.exam\nple/", /ASCII/],
    ["https://bücher.example/", /ASCII/],
    [`https://b.example/${"a".repeat(2048)}`, /2048/],
    ["", /ASCII/],
  ])("is not read from %j", (text, reason) => {
    expect(() => parseHttpsUrl(text)).toThrowCode("INVALID_URL", reason);
  });

  it("has one spelling: what is read from it is itself", () => {
    fc.assert(
      fc.property(fc.webUrl({ validSchemes: ["https"], withQueryParameters: true }), (text) => {
        const url = parseHttpsUrl(text);
        expect(parseHttpsUrl(url)).toBe(url);
      }),
    );
  });

  it("tells where its server is", () => {
    expect(serverOf(parseHttpsUrl("https://b.example/x"))).toEqual({ host: "b.example", port: 443 });
    expect(serverOf(parseHttpsUrl("https://[::1]:8443/"))).toEqual({ host: "::1", port: 8443 });
  });
});

describe("the target of a redirect", () => {
  const from = parseHttpsUrl("https://b.example:8443/a/b");

  it.each([
    ["https://c.example/", "https://c.example/"],
    ["/bundle", "https://b.example:8443/bundle"],
    ["c?d#e", "https://b.example:8443/a/c?d"],
    ["//c.example/x", "https://c.example/x"],
  ])("%s is %s", (location, url) => {
    expect(redirectTarget(from, location)).toBe(url);
  });

  it.each([
    "http://b.example/",
    "https://u@c.example/",
    "//u:p@c.example/",
    "javascript:alert(1)",
    "https:\\\\c.example",
    "gopher://127.0.0.1/",
  ])("%s is refused", (location) => {
    expect(() => redirectTarget(from, location)).toThrowCode("INVALID_URL");
  });
});
