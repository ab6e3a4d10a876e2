import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { checkedEntryId, type EntryDraft, validateEntry } from "./entry-rules.ts";

const OWN = parseTrustDomain("example.org");
const DRAFT: EntryDraft = {
  spiffeId: "spiffe://example.org/workload",
  parentId: "spiffe://example.org/spire/agent/x509pop/1",
  selectors: [{ type: "unix", value: "uid:1000" }],
};

function valid(change: Partial<EntryDraft> = {}) {
  return validateEntry({ ...DRAFT, ...change }, OWN);
}

describe("validateEntry", () => {
  it("fills in what a draft leaves out", () => {
    expect(valid()).toEqual({
      ...DRAFT,
      x509SvidTtl: 0,
      jwtSvidTtl: 0,
      federatesWith: [],
      admin: false,
      downstream: false,
      storeSvid: false,
      expiresAt: 0,
      dnsNames: [],
      hint: "",
      disableX509SvidPrefetch: false,
      jwtSvidIncludeJti: false,
      idTemplate: "",
      maxTaskDuration: 0,
      exchangeAudiences: [],
      svidKeyType: "",
    });
  });

  it("keeps every field and puts sets into their canonical form", () => {
    const content = valid({
      selectors: [
        { type: "unix", value: "uid:2" },
        { type: "unix", value: "gid:1" },
        { type: "unix", value: "uid:2" },
      ],
      federatesWith: ["spiffe://b.example", "a.example", "b.example"],
      dnsNames: ["b.example.org", "a.example.org", "b.example.org"],
      x509SvidTtl: 2 ** 31 - 1,
      jwtSvidTtl: 1,
      expiresAt: Number.MAX_SAFE_INTEGER,
      admin: true,
      downstream: true,
      storeSvid: true,
      hint: "h",
      jwtSvidIncludeJti: true,
    });
    expect(content).toMatchObject({
      selectors: [
        { type: "unix", value: "gid:1" },
        { type: "unix", value: "uid:2" },
      ],
      federatesWith: ["a.example", "b.example"],
      dnsNames: ["b.example.org", "a.example.org"],
      admin: true,
      downstream: true,
      storeSvid: true,
      jwtSvidIncludeJti: true,
      expiresAt: Number.MAX_SAFE_INTEGER,
    });
  });

  it.each([
    ["", "INVALID_SPIFFE_ID", /^spiffeId: SPIFFE ID is empty/],
    ["spiffe://example.org/a//b", "INVALID_SPIFFE_ID", /^spiffeId: path cannot contain empty segments/],
    ["https://example.org/a", "INVALID_SPIFFE_ID", /^spiffeId: scheme/],
    ["spiffe://other.org/a", "INVALID_ENTRY", /^spiffeId: expected an ID of trust domain example.org/],
    ["spiffe://example.org", "INVALID_ENTRY", /^spiffeId: expected an ID with a path/],
    ["spiffe://example.org/spire", "INVALID_ENTRY", /^spiffeId: .*reserved/],
    ["spiffe://example.org/spire/server", "INVALID_ENTRY", /^spiffeId: .*reserved/],
    ["spiffe://example.org/spire/agent/x/y", "INVALID_ENTRY", /^spiffeId: .*reserved/],
  ] as const)("refuses the SPIFFE ID %j", (spiffeId, code, detail) => {
    expect(() => valid({ spiffeId })).toThrowCode(code, detail);
  });

  it("takes a path that only begins like the reserved one", () => {
    expect(valid({ spiffeId: "spiffe://example.org/spirex" }).spiffeId).toBe("spiffe://example.org/spirex");
  });

  it("takes the server and agents for parents, and IDs that nobody has", () => {
    for (const path of ["/spire/server", "/spire/agent/k8s_psat/c/n", "/nobody"]) {
      expect(valid({ parentId: `spiffe://example.org${path}` }).parentId).toBe(`spiffe://example.org${path}`);
    }
  });

  it.each([
    ["", "INVALID_SPIFFE_ID"],
    ["spiffe://example.org/%61", "INVALID_SPIFFE_ID"],
    ["spiffe://example.org", "INVALID_ENTRY"],
    ["spiffe://other.org/a", "INVALID_ENTRY"],
  ] as const)("refuses the parent ID %j", (parentId, code) => {
    expect(() => valid({ parentId })).toThrowCode(code, /^parentId: /);
  });

  it("demands a selector, and well-formed ones", () => {
    expect(() => valid({ selectors: [] })).toThrowCode("INVALID_ENTRY", /^selectors: expected at least one/);
    const bad = [
      { type: "", value: "v" },
      { type: "t", value: "" },
      { type: "a:b", value: "v" },
      { type: "t", value: "\ud800" },
      { type: "t", value: "x".repeat(4097) },
    ];
    for (const selector of bad) {
      const selectors = [...DRAFT.selectors, selector];
      expect(() => valid({ selectors })).toThrowCode("INVALID_SELECTOR", /^selectors\/1: /);
    }
  });

  it("lets a stored SVID be selected by one type only, and always prefetched", () => {
    const selectors = [...DRAFT.selectors, { type: "k8s", value: "ns:a" }];
    expect(() => valid({ selectors, storeSvid: true })).toThrowCode(
      "INVALID_ENTRY",
      /^selectors: .*one type/,
    );
    expect(valid({ selectors }).selectors).toHaveLength(2);
    const both = { storeSvid: true, disableX509SvidPrefetch: true };
    expect(() => valid(both)).toThrowCode("INVALID_ENTRY", /^disableX509SvidPrefetch: /);
  });

  it.each([
    ["x509SvidTtl", -1],
    ["x509SvidTtl", 2 ** 31],
    ["x509SvidTtl", 1.5],
    ["jwtSvidTtl", -1],
    ["jwtSvidTtl", Number.NaN],
    ["jwtSvidTtl", 2 ** 31],
    ["expiresAt", -1],
    ["expiresAt", 2 ** 53],
    ["expiresAt", Number.POSITIVE_INFINITY],
  ] as const)("refuses %s of %s", (field, value) => {
    expect(() => valid({ [field]: value })).toThrowCode(
      "INVALID_ENTRY",
      new RegExp(`^${field}: expected a whole`),
    );
  });

  it("refuses to federate with itself or with what is no trust domain", () => {
    expect(() => valid({ federatesWith: ["example.org"] })).toThrowCode(
      "INVALID_ENTRY",
      /^federatesWith\/0: /,
    );
    expect(() => valid({ federatesWith: ["spiffe://example.org"] })).toThrowCode("INVALID_ENTRY");
    expect(() => valid({ federatesWith: ["a.b", "A.b"] })).toThrowCode(
      "INVALID_TRUST_DOMAIN",
      /^federatesWith\/1: /,
    );
    expect(() => valid({ federatesWith: ["spiffe://a.b/c"] })).toThrowCode("INVALID_TRUST_DOMAIN");
  });

  it("bounds the hint in bytes", () => {
    expect(valid({ hint: "\u00fc".repeat(512) }).hint).toHaveLength(512);
    expect(() => valid({ hint: `${"\u00fc".repeat(512)}x` })).toThrowCode("INVALID_ENTRY", /^hint: .*1024/);
    expect(() => valid({ hint: "\udfff" })).toThrowCode("INVALID_ENTRY", /^hint: /);
  });

  it("refuses DNS names that are none", () => {
    expect(() => valid({ dnsNames: ["a.b", "a..b"] })).toThrowCode("INVALID_ENTRY", /^dnsNames\/1: /);
  });

  it("bounds every list", () => {
    const many = Array.from({ length: 1001 }, (_, n) => `a${n}.example`);
    expect(() => valid({ dnsNames: many })).toThrowCode("INVALID_ENTRY", /^dnsNames: expected at most 1000/);
    expect(() => valid({ federatesWith: many })).toThrowCode("INVALID_ENTRY", /^federatesWith: /);
    const selectors = many.map((value) => ({ type: "t", value }));
    expect(() => valid({ selectors })).toThrowCode("INVALID_ENTRY", /^selectors: expected at most 1000/);
  });

  it("names everything that is wrong, the first of it in its text", () => {
    const draft = {
      spiffeId: "x",
      selectors: [{ type: "", value: "v" }],
      hint: "x".repeat(1025),
      jwtSvidTtl: -1,
    };
    try {
      valid(draft);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(AssayError);
      const { code, violations } = error as AssayError;
      expect(code).toBe("INVALID_SPIFFE_ID");
      expect(violations.map((violation) => violation.pointer)).toEqual([
        "/spiffeId",
        "/selectors/0",
        "/jwtSvidTtl",
        "/hint",
      ]);
    }
  });
});

describe("checkedEntryId", () => {
  it("takes 1 to 255 restricted characters and nothing else", () => {
    for (const id of ["a", "A-1._", "x".repeat(255)]) expect(checkedEntryId(id)).toBe(id);
    for (const id of ["", "x".repeat(256), "a b", "a/b", "\u00e4", "a\n"]) {
      expect(() => checkedEntryId(id)).toThrowCode("INVALID_ENTRY", /^id: /);
    }
  });
});
