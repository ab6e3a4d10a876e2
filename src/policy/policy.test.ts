import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { type AccessTokenQuestion, decideAccessToken } from "./access-token.ts";
import { denials, type PolicyDecision } from "./decision.ts";
import { decideJwtSvid, type JwtSvidQuestion, jwtSvidAlgorithm } from "./jwt-svid.ts";
import { DEFAULT_POLICY, type PolicyOptions } from "./policy-options.ts";
import { decideWitSvid, type WitSvidQuestion } from "./wit-svid.ts";
import { decideAgentSvid, decideX509Svid, type X509SvidQuestion } from "./x509-svid.ts";

const NOW = 1_800_000_000;
const trustDomain = parseTrustDomain("example.org");
const question: X509SvidQuestion = {
  now: NOW,
  authorityNotAfter: NOW + 86_400,
  trustDomain,
  spiffeId: parseSpiffeId("spiffe://example.org/web"),
  dnsNames: [],
  keyType: "ec-p256",
};
const jwtQuestion: JwtSvidQuestion = {
  now: NOW,
  authorityNotAfter: NOW + 86_400,
  trustDomain,
  spiffeId: question.spiffeId,
  audiences: parseAudiences(["db"]),
};

const x509 = (change: Partial<X509SvidQuestion> = {}, options: Partial<PolicyOptions> = {}) =>
  decideX509Svid({ ...question, ...change }, { ...DEFAULT_POLICY, ...options });
const jwt = (change: Partial<JwtSvidQuestion> = {}, options: Partial<PolicyOptions> = {}) =>
  decideJwtSvid({ ...jwtQuestion, ...change }, { ...DEFAULT_POLICY, ...options });
const rules = (decision: PolicyDecision) => decision.reasons.map(({ rule, effect }) => `${rule} ${effect}`);
const denied = (decision: PolicyDecision) => denials(decision).map(({ rule }) => rule);

describe("the lifetime of an X509-SVID", () => {
  it("is the default where nobody names one", () => {
    const decision = x509();
    expect(decision).toMatchObject({ allowed: true, ttl: 3600, notAfter: NOW + 3600 });
    expect(rules(decision)).toEqual(["ttl-default sets"]);
  });

  it("is the entry's where it names one", () => {
    const decision = x509({ entryTtl: 60 });
    expect(decision).toMatchObject({ allowed: true, ttl: 60 });
    expect(rules(decision)).toEqual(["ttl-entry sets"]);
  });

  it("is the requested one, but never more than the entry's", () => {
    expect(x509({ requestedTtl: 30 })).toMatchObject({ ttl: 30 });
    expect(x509({ requestedTtl: 30, entryTtl: 60 })).toMatchObject({ ttl: 30 });
    const decision = x509({ requestedTtl: 90, entryTtl: 60 });
    expect(decision).toMatchObject({ allowed: true, ttl: 60 });
    expect(rules(decision)).toEqual(["ttl-requested sets", "ttl-entry caps"]);
  });

  it("is capped by the configured maximum", () => {
    expect(rules(x509({ entryTtl: 7200 }, { maxX509SvidTtl: 600 }))).toEqual([
      "ttl-entry sets",
      "ttl-maximum caps",
    ]);
    expect(x509({ entryTtl: 7200 }, { maxX509SvidTtl: 600 })).toMatchObject({ ttl: 600 });
    expect(x509({}, { maxX509SvidTtl: 3600 })).toMatchObject({ ttl: 3600 });
  });

  it("ends with the entry", () => {
    const decision = x509({ entryExpiresAt: NOW + 10 });
    expect(decision).toMatchObject({ allowed: true, ttl: 10, notAfter: NOW + 10 });
    expect(rules(decision)).toEqual(["ttl-default sets", "entry-expiry caps"]);
  });

  it("ends with the authority", () => {
    const decision = x509({ authorityNotAfter: NOW + 7 });
    expect(decision).toMatchObject({ allowed: true, ttl: 7 });
    expect(rules(decision)).toEqual(["ttl-default sets", "authority-expiry caps"]);
  });

  it("ends with the task, or with what it is exchanged for", () => {
    const decision = x509({ endsBy: NOW + 90.9 });
    expect(decision).toMatchObject({ allowed: true, ttl: 90 });
    expect(rules(decision)).toEqual(["ttl-default sets", "task-lease caps"]);
    expect(denied(jwt({ endsBy: NOW }))).toEqual(["task-lease"]);
    expect(denied(x509({ endsBy: Number.NaN, requestedTtl: 60 }))).toEqual(["task-lease"]);
  });

  it.each([0, -1, -86_400])("is none for an entry that expired %i seconds from now", (offset) => {
    expect(denied(x509({ entryExpiresAt: NOW + offset }))).toEqual(["entry-expiry"]);
  });

  it.each([0, -1])("is none under an authority that ends %i seconds from now", (offset) => {
    expect(denied(x509({ authorityNotAfter: NOW + offset }))).toEqual(["authority-expiry"]);
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])("is none for the nonsense %d", (ttl) => {
    expect(denied(x509({ requestedTtl: ttl }))).toEqual(["ttl-invalid"]);
    expect(denied(x509({ entryTtl: ttl }))).toContain("ttl-invalid");
  });

  it("never exceeds any bound, and says which rule made it so", () => {
    const seconds = fc.integer({ min: 0, max: 200_000 });
    fc.assert(
      fc.property(
        seconds,
        seconds,
        seconds,
        seconds,
        fc.integer({ min: -100, max: 200_000 }),
        (...values) => {
          const [requestedTtl, entryTtl, expires, maxX509SvidTtl, authority] = values;
          const entryExpiresAt = expires === 0 ? 0 : NOW - 1000 + expires;
          const decision = x509(
            { requestedTtl, entryTtl, entryExpiresAt, authorityNotAfter: NOW + authority },
            { maxX509SvidTtl },
          );
          if (!decision.allowed) {
            expect(denied(decision).length).toBeGreaterThan(0);
            expect(authority <= 0 || (expires > 0 && entryExpiresAt <= NOW)).toBe(true);
            return;
          }
          const bounds = [
            requestedTtl || entryTtl || 3600,
            entryTtl || Number.POSITIVE_INFINITY,
            maxX509SvidTtl || Number.POSITIVE_INFINITY,
            expires === 0 ? Number.POSITIVE_INFINITY : entryExpiresAt - NOW,
            authority,
          ];
          expect(decision.ttl).toBe(Math.min(...bounds));
          expect(decision.ttl).toBeGreaterThan(0);
          expect(decision.notAfter).toBe(NOW + decision.ttl);
          expect(decision.reasons.filter(({ effect }) => effect === "sets")).toHaveLength(1);
        },
      ),
    );
  });
});

describe("the contents of an X509-SVID", () => {
  it.each([
    ["spiffe://other.org/web", "spiffe-id-member"],
    ["spiffe://example.org", "spiffe-id-path"],
    ["spiffe://example.org/spire", "spiffe-id-reserved"],
    ["spiffe://example.org/spire/server", "spiffe-id-reserved"],
    ["spiffe://example.org/spire/agent/join_token/x", "spiffe-id-reserved"],
  ])("may not be for %s", (id, rule) => {
    expect(denied(x509({ spiffeId: parseSpiffeId(id) }))).toEqual([rule]);
    expect(denied(jwt({ spiffeId: parseSpiffeId(id) }))).toEqual([rule]);
  });

  it("may be for a path that only looks reserved", () => {
    expect(x509({ spiffeId: parseSpiffeId("spiffe://example.org/spires/server") }).allowed).toBe(true);
  });

  it("may only have a key of an allowed type", () => {
    expect(denied(x509({ keyType: "rsa" }, { keyTypes: ["ec-p256"] }))).toEqual(["key-type"]);
    expect(x509({ keyType: "rsa" }).allowed).toBe(true);
  });

  it.each([
    ["ec-p256", { keyType: "ec-p256" }, true],
    ["ec-p256", { keyType: "ec-p384" }, false],
    ["ec-p384", { keyType: "ec-p384" }, true],
    ["ec-p384", { keyType: "rsa", keyBits: 2048 }, false],
    ["rsa-2048", { keyType: "rsa", keyBits: 2048 }, true],
    ["rsa-2048", { keyType: "rsa", keyBits: 4096 }, false],
    ["rsa-4096", { keyType: "rsa", keyBits: 4096 }, true],
    ["rsa-4096", { keyType: "rsa", keyBits: 2048 }, false],
    ["rsa-4096", { keyType: "rsa" }, false],
  ] as const)("may only have a key of type %s where its entry says so: %o", (svidKeyType, key, allowed) => {
    const decided = x509({ ...key, svidKeyType });
    expect(decided.allowed).toBe(allowed);
    if (!allowed) expect(denied(decided)).toEqual(["key-type"]);
  });

  it.each(["web", "web.example.org", "*.example.org", "_sip.a-b.c9", "x".repeat(63)])(
    "may have the DNS name %s",
    (name) => {
      expect(x509({ dnsNames: [name] }).allowed).toBe(true);
    },
  );

  it.each([
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "-a",
    "a-",
    "a b",
    "*",
    "a.*",
    "*a.b",
    "é",
    "a/b",
    "a\0.b",
    "x".repeat(64),
    "a.".repeat(127) + "a",
  ])("may not have the DNS name %j", (name) => {
    expect(denied(x509({ dnsNames: ["fine.org", name] }))).toEqual(["dns-name"]);
  });

  it("may not have names without end", () => {
    const names = (count: number) => Array.from({ length: count }, (_, i) => `n${i}.example.org`);
    expect(x509({ dnsNames: names(256) }).allowed).toBe(true);
    expect(denied(x509({ dnsNames: names(257) }))).toEqual(["dns-name-count"]);
  });

  it("is denied with every reason at once", () => {
    const decision = x509(
      {
        spiffeId: parseSpiffeId("spiffe://other.org/x"),
        dnsNames: ["-"],
        entryExpiresAt: 1,
        requestedTtl: -1,
      },
      { keyTypes: [] },
    );
    expect(denied(decision)).toEqual([
      "spiffe-id-member",
      "key-type",
      "dns-name",
      "ttl-invalid",
      "entry-expiry",
    ]);
  });
});

describe("an agent's X509-SVID", () => {
  const agent = (authority = 86_400, options: Partial<PolicyOptions> = {}) =>
    decideAgentSvid(
      { now: NOW, authorityNotAfter: NOW + authority, keyType: "ec-p256" },
      { ...DEFAULT_POLICY, ...options },
    );

  it("lives as long as configured for agents, within the maximum and the authority", () => {
    expect(agent(86_400, { agentTtl: 77 })).toMatchObject({ allowed: true, ttl: 77 });
    expect(agent(86_400, { agentTtl: 77, maxX509SvidTtl: 50 })).toMatchObject({ ttl: 50 });
    expect(agent(40)).toMatchObject({ ttl: 40 });
    expect(agent(0).allowed).toBe(false);
    expect(agent(86_400, { keyTypes: ["rsa"] }).allowed).toBe(false);
  });
});

describe("a JWT-SVID", () => {
  it("lives five minutes unless the entry says otherwise", () => {
    expect(jwt()).toMatchObject({ allowed: true, ttl: 300 });
    expect(jwt({ entryTtl: 60 })).toMatchObject({ ttl: 60 });
    expect(jwt({ entryTtl: 6000 }, { maxJwtSvidTtl: 600 })).toMatchObject({ ttl: 600 });
    expect(jwt({ entryExpiresAt: NOW + 9 })).toMatchObject({ ttl: 9 });
    expect(denied(jwt({ entryExpiresAt: NOW }))).toEqual(["entry-expiry"]);
  });

  it("names at least one audience and at most as many as configured", () => {
    expect(denied(jwt({ audiences: [] }))).toEqual(["audience-required"]);
    expect(jwt({ audiences: parseAudiences(["a", "b"]) }).allowed).toBe(true);
    expect(denied(jwt({ audiences: parseAudiences(["a", "b"]) }, { maxAudiences: 1 }))).toEqual([
      "audience-count",
    ]);
  });
});

describe("the algorithm of a JWT-SVID", () => {
  const rs256Audiences = new Set(["sts.amazonaws.com", "old.example"]);
  const algorithm = (...audiences: string[]) =>
    jwtSvidAlgorithm(parseAudiences(audiences), { rs256Audiences });

  it("is RS256 where every audience knows nothing else, compared exactly", () => {
    expect(algorithm("sts.amazonaws.com")).toBe("RS256");
    expect(algorithm("old.example", "sts.amazonaws.com")).toBe("RS256");
    for (const others of [["db"], ["sts.amazonaws.com", "db"], ["STS.amazonaws.com"], ["old.example "]]) {
      expect(algorithm(...others)).toBeUndefined();
    }
    expect(jwtSvidAlgorithm([], { rs256Audiences })).toBeUndefined();
    expect(jwtSvidAlgorithm(parseAudiences(["db"]), DEFAULT_POLICY)).toBeUndefined();
  });
});

describe("a WIT-SVID", () => {
  const wit = (change: Partial<WitSvidQuestion> = {}, options: Partial<PolicyOptions> = {}) =>
    decideWitSvid(
      {
        now: NOW,
        authorityNotAfter: NOW + 86_400,
        trustDomain,
        spiffeId: question.spiffeId,
        keyType: "ec-p256",
        proved: false,
        ...change,
      },
      { ...DEFAULT_POLICY, ...options },
    );

  it("lives as long as the entry's X509-SVIDs, or an hour, within its own maximum", () => {
    expect(wit()).toMatchObject({ allowed: true, ttl: 3600 });
    expect(wit({ entryTtl: 60 })).toMatchObject({ ttl: 60 });
    expect(wit({}, { defaultWitSvidTtl: 90 })).toMatchObject({ ttl: 90 });
    expect(wit({ entryTtl: 6000 }, { maxWitSvidTtl: 600, maxX509SvidTtl: 10 })).toMatchObject({ ttl: 600 });
    expect(wit({ entryExpiresAt: NOW + 9 })).toMatchObject({ ttl: 9 });
    expect(wit({ authorityNotAfter: NOW + 7 })).toMatchObject({ ttl: 7 });
  });

  it("is for workloads of the trust domain, with keys that are allowed", () => {
    expect(denied(wit({ spiffeId: parseSpiffeId("spiffe://other.org/web") }))).toEqual(["spiffe-id-member"]);
    expect(denied(wit({ spiffeId: parseSpiffeId("spiffe://example.org") }))).toEqual(["spiffe-id-path"]);
    expect(denied(wit({}, { keyTypes: ["rsa"] }))).toEqual(["key-type"]);
  });

  it("asks for a proof of possession where that is required", () => {
    const required = { witProofOfPossession: "required" } as const;
    expect(denied(wit({}, required))).toEqual(["key-possession"]);
    expect(wit({ proved: true }, required).allowed).toBe(true);
    expect(wit({ proved: true }).allowed).toBe(true);
  });
});

describe("an access token", () => {
  const token = (change: Partial<AccessTokenQuestion> = {}, options: Partial<PolicyOptions> = {}) =>
    decideAccessToken(
      { now: NOW, authorityNotAfter: NOW + 86_400, trustDomain, spiffeId: question.spiffeId, ...change },
      { ...DEFAULT_POLICY, ...options },
    );

  it("lives five minutes unless the entry says otherwise, and never more than fifteen", () => {
    expect(token()).toMatchObject({ allowed: true, ttl: 300 });
    expect(token({ entryTtl: 60 })).toMatchObject({ ttl: 60 });
    expect(token({ entryTtl: 86_400 })).toMatchObject({ ttl: 900 });
    expect(token({ requestedTtl: 86_400 })).toMatchObject({ ttl: 900 });
    expect(token({}, { defaultAccessTokenTtl: 30 })).toMatchObject({ ttl: 30 });
    expect(token({ entryTtl: 600 }, { maxAccessTokenTtl: 120, maxJwtSvidTtl: 10 })).toMatchObject({
      ttl: 120,
    });
  });

  it("ends with what it is exchanged for", () => {
    expect(token({ endsBy: NOW + 20 })).toMatchObject({ ttl: 20, notAfter: NOW + 20 });
    expect(denied(token({ endsBy: NOW }))).toEqual(["task-lease"]);
  });

  it("is for workloads of the trust domain", () => {
    expect(denied(token({ spiffeId: parseSpiffeId("spiffe://other.org/web") }))).toEqual([
      "spiffe-id-member",
    ]);
    expect(denied(token({ spiffeId: parseSpiffeId("spiffe://example.org/spire/x") }))).toEqual([
      "spiffe-id-reserved",
    ]);
  });
});
