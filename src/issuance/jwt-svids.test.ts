import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AGENT, agentCaller, IssuanceBench, LOCAL, OTHER_AGENT } from "../../test/fakes/issuance-bench.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { issueJwtSvid, mintJwtSvid } from "./jwt-svids.ts";

let bench: IssuanceBench;
beforeEach(async () => {
  bench = await IssuanceBench.open();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("a JWT-SVID for an entry", () => {
  it("names the entry's ID, the audiences asked for and the entry's lifetime", async () => {
    bench.entry("web", { jwtSvidTtl: 90 });
    const svid = await issueJwtSvid(bench.options(), agentCaller(), {
      entryId: "web",
      audience: ["db", "cache", "db"],
    });
    expect(claims(svid.token)).toEqual({
      sub: "spiffe://example.org/web",
      aud: ["db", "cache"],
      iat: bench.now,
      exp: bench.now + 90,
    });
  });

  it.each([
    ["none", []],
    ["an empty one", ["db", ""]],
    ["33 of them", Array.from({ length: 33 }, (_, n) => `a${n}`)],
  ])("is refused for audiences: %s", async (_, audience) => {
    bench.entry("web");
    await expect(
      issueJwtSvid(bench.options(), agentCaller(), { entryId: "web", audience }),
    ).rejects.toThrowCode("INVALID_AUDIENCE");
    expect(bench.audit.records).toMatchObject([
      { event: "svid.denied", outcome: "denied", code: "INVALID_AUDIENCE", entry_id: "web", agent_id: AGENT },
    ]);
  });

  it("is signed by RS256 where all of its audiences know nothing else", async () => {
    await using both = await IssuanceBench.open({ rs256: true });
    both.entry("web");
    const options = both.options({ rs256Audiences: new Set(["cloud", "vault"]) });
    const header = async (...audience: string[]) => {
      const { token } = await issueJwtSvid(options, agentCaller(), { entryId: "web", audience });
      return JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as { alg: string };
    };
    expect((await header("vault", "cloud")).alg).toBe("RS256");
    expect((await header("cloud", "db")).alg).toBe("ES256");
    expect((await header("db")).alg).toBe("ES256");
  });

  it("is refused for an entry that is unknown, another agent's or expired", async () => {
    bench.entry("mine");
    bench.entry("over", { expiresAt: bench.now });
    const options = bench.options();
    for (const [agent, entryId] of [
      [AGENT, "none"],
      [AGENT, "over"],
      [OTHER_AGENT, "mine"],
    ] as const) {
      await expect(
        issueJwtSvid(options, agentCaller(agent), { entryId, audience: ["db"] }),
      ).rejects.toThrowCode("ENTRY_NOT_FOUND", "entry not found or not authorized");
    }
  });

  it("is refused by policy with the rule's name", async () => {
    bench.entry("web");
    await expect(
      issueJwtSvid(bench.options({ maxAudiences: 1 }), agentCaller(), {
        entryId: "web",
        audience: ["a", "b"],
      }),
    ).rejects.toThrowCode("POLICY_DENIED", "rule audience-count");
  });
});

describe("the record of a JWT-SVID", () => {
  it("traces it by its jti and holds nothing of the token", async () => {
    bench.entry("web", { jwtSvidIncludeJti: true });
    const svid = await issueJwtSvid(bench.options(), agentCaller(), { entryId: "web", audience: ["db"] });
    expect(claims(svid.token)["jti"]).toBe(svid.jti);
    expect(bench.audit.records).toEqual([
      {
        event: "svid.jwt.issued",
        outcome: "issued",
        decision_id: "decision-1",
        caller_address: "192.0.2.7",
        caller_id: AGENT,
        agent_id: AGENT,
        entry_id: "web",
        entry_revision: 3,
        selectors: ["unix:uid:1000"],
        spiffe_id: "spiffe://example.org/web",
        audience: ["db"],
        jti: svid.jti,
        authority_id: svid.keyId,
        expires_at: svid.expiresAt,
      },
    ]);
    const text = JSON.stringify(bench.audit.records);
    for (const part of svid.token.split(".")) expect(text).not.toContain(part);
  });

  it("traces a token without jti by a digest", async () => {
    bench.entry("web");
    const svid = await issueJwtSvid(bench.options(), agentCaller(), { entryId: "web", audience: ["db"] });
    expect(claims(svid.token)).not.toHaveProperty("jti");
    expect(bench.audit.records[0]?.jti).toMatch(/^[0-9a-f]{64}$/);
  });

  it("keeps the token back when it cannot be written", async () => {
    bench.entry("web");
    bench.audit.broken = true;
    await expect(
      issueJwtSvid(bench.options(), agentCaller(), { entryId: "web", audience: ["db"] }),
    ).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    await expect(
      mintJwtSvid(bench.options(), LOCAL, {
        spiffeId: parseSpiffeId("spiffe://example.org/m"),
        audience: ["db"],
        ttl: 0,
      }),
    ).rejects.toThrowCode("AUDIT_UNAVAILABLE");
  });
});

describe("minting a JWT-SVID for an administrator", () => {
  it("takes the ID and the lifetime asked for", async () => {
    const spiffeId = parseSpiffeId("spiffe://example.org/minted");
    const svid = await mintJwtSvid(bench.options(), LOCAL, { spiffeId, audience: ["db"], ttl: 42 });
    expect(claims(svid.token)).toMatchObject({ sub: spiffeId, exp: bench.now + 42 });
    expect(bench.audit.records).toMatchObject([
      { event: "svid.jwt.issued", caller_pid: 42, spiffe_id: spiffeId, audience: ["db"] },
    ]);
  });

  it.each([
    ["spiffe://other.org/a", "spiffe-id-member"],
    ["spiffe://example.org", "spiffe-id-path"],
    ["spiffe://example.org/spire/agent/x/y", "spiffe-id-reserved"],
  ])("refuses %s by rule %s", async (id, rule) => {
    await expect(
      mintJwtSvid(bench.options(), LOCAL, { spiffeId: parseSpiffeId(id), audience: ["db"], ttl: 0 }),
    ).rejects.toThrowCode("POLICY_DENIED", rule);
  });

  it("refuses to do without an audience", async () => {
    await expect(
      mintJwtSvid(bench.options(), LOCAL, {
        spiffeId: parseSpiffeId("spiffe://example.org/m"),
        audience: [],
        ttl: 0,
      }),
    ).rejects.toThrowCode("INVALID_AUDIENCE");
  });
});

function claims(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
    string,
    unknown
  >;
}
