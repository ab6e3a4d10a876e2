import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TEST_NOW } from "../../../test/fakes/certificates.ts";
import { AGENT, OPERATOR, REQUEST_ID, webBench, type WebBench } from "../../../test/fakes/web-app.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const path = `/v1/agents/${encodeURIComponent(AGENT)}`;
const two = parseSpiffeId("spiffe://example.org/spire/agent/join_token/two");
let bench: WebBench;

beforeEach(async () => {
  bench = await webBench();
  await bench.attest();
  await bench.attest({
    id: two,
    attestationType: "join_token",
    selectors: [],
    canReattest: false,
    expiresAt: TEST_NOW - 600,
  });
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("GET /v1/agents", () => {
  it.each([
    ["", [AGENT, two]],
    ["?attestation_type=x509pop", [AGENT]],
    ["?banned=true", []],
    ["?banned=false", [AGENT, two]],
    ["?can_reattest=false", [two]],
    ["?expires_before=2026-09-21T14:13:20Z", [two]],
    ["?selector=x509pop:subject:cn:one", [AGENT]],
    ["?selector=x509pop:subject:cn:one&selector=a:b&selector_match=any", [AGENT]],
    ["?page_size=1", [AGENT]],
  ])("finds by %s", async (query, ids) => {
    const { status, body } = await bench.send("GET", `/v1/agents${query}`);
    expect(status).toBe(200);
    expect(body.agents.map(({ id }) => id)).toEqual(ids);
  });

  it.each([
    ["?banned=1", "INVALID_REQUEST"],
    ["?expires_before=tomorrow", "INVALID_REQUEST"],
    ["?expires_before=2026-09-21", "INVALID_REQUEST"],
    ["?selector=x", "INVALID_SELECTOR"],
    ["?attestation_type=", "INVALID_REQUEST"],
    ["?page_token=zz", "INVALID_PAGE_TOKEN"],
    ["?sort=id", "INVALID_REQUEST"],
  ])("refuses %s", async (query, code) => {
    expect(await bench.send("GET", `/v1/agents${query}`)).toMatchObject({ status: 400, body: { code } });
  });
});

describe("/v1/agents/{id}", () => {
  it("reads an agent by its whole SPIFFE ID", async () => {
    expect((await bench.send("GET", path)).body).toEqual({
      id: AGENT,
      attestation_type: "x509pop",
      selectors: ["x509pop:subject:cn:one"],
      can_reattest: true,
      banned: false,
      serial: "0a",
      expires_at: "2026-09-21T14:23:20Z",
      attested_at: "2026-09-21T14:13:20Z",
      agent_version: "1.0.0",
    });
  });

  it("bans an agent, twice with the same end", async () => {
    expect(await bench.send("PUT", `${path}/ban`)).toMatchObject({
      status: 200,
      body: { banned: true, serial: "" },
    });
    expect((await bench.send("PUT", `${path}/ban`)).status).toBe(200);
    expect(bench.audit[0]).toEqual({
      event: "node.banned",
      outcome: "done",
      method: "PUT /v1/agents/:id/ban",
      request_id: REQUEST_ID,
      caller_id: OPERATOR,
      caller_address: "192.0.2.7",
      agent_id: AGENT,
      attestor: "x509pop",
    });
    await expect(bench.attest()).rejects.toThrowCode("AGENT_BANNED");
  });

  it("evicts an agent once", async () => {
    expect(await bench.send("DELETE", path)).toMatchObject({ status: 204, body: "" });
    expect(bench.registry.nodes.get(AGENT)).toBeUndefined();
    expect(bench.audit).toMatchObject([{ event: "node.evicted", agent_id: AGENT }]);
    expect(await bench.send("DELETE", path)).toMatchObject({
      status: 404,
      body: { code: "AGENT_NOT_FOUND" },
    });
    expect(bench.audit).toHaveLength(1);
  });

  it.each([
    ["GET", "/v1/agents/one", 400, "INVALID_SPIFFE_ID"],
    ["GET", "/v1/agents/spiffe%3A%2F%2Fexample.org%2Fspire%2Fagent%2Fx509pop%2F..", 400, "INVALID_SPIFFE_ID"],
    ["GET", "/v1/agents/spiffe%3A%2F%2Fexample.org%2Fspire%2Fagent%2Fnone", 404, "AGENT_NOT_FOUND"],
    ["PUT", "/v1/agents/one/ban", 400, "INVALID_SPIFFE_ID"],
    ["PUT", "/v1/agents/spiffe%3A%2F%2Fexample.org%2Fnone/ban", 404, "AGENT_NOT_FOUND"],
    ["DELETE", "/v1/agents/one", 400, "INVALID_SPIFFE_ID"],
    ["GET", "/v1/agents/%ff", 400, "INVALID_REQUEST"],
    ["GET", `/v1/agents/${AGENT}`, 404, "NOT_FOUND"],
  ] as const)("answers %s %s by %i", async (method, url, status, code) => {
    expect(await bench.send(method, url)).toMatchObject({ status, body: { code } });
    expect(bench.audit).toEqual([]);
  });
});

describe("POST /v1/agents/purge", () => {
  it("forgets agents that may come back, and others where it is told to", async () => {
    const before = { expired_before: "2026-09-21T14:13:20Z" };
    expect((await bench.send("POST", "/v1/agents/purge", before)).body).toEqual({ purged: [] });
    expect(bench.audit).toEqual([]);
    const all = { ...before, include_not_reattestable: true };
    expect((await bench.send("POST", "/v1/agents/purge", all)).body).toEqual({ purged: [two] });
    expect(bench.audit).toMatchObject([{ event: "node.purged", agent_id: two }]);
  });

  it.each([
    {},
    { expired_before: 5 },
    { expired_before: "now" },
    { expired_before: "2026-09-21T14:13:20Z", all: true },
  ])("refuses %j", async (body) => {
    expect(await bench.send("POST", "/v1/agents/purge", body)).toMatchObject({
      status: 400,
      body: { code: "INVALID_REQUEST" },
    });
  });
});

describe("POST /v1/join-tokens", () => {
  it("makes a token that can be used once, and writes down all but the token", async () => {
    const order = { ttl: "5m", spiffe_id: "spiffe://example.org/node" };
    const { status, body } = await bench.send("POST", "/v1/join-tokens", order);
    expect(status).toBe(201);
    expect(body).toEqual({
      token: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      expires_at: "2026-09-21T14:18:20Z",
      agent_id: `spiffe://example.org/spire/agent/join_token/${String(body.token)}`,
    });
    expect(bench.audit).toMatchObject([
      { event: "token.created", expires_at: TEST_NOW + 300, spiffe_id: "spiffe://example.org/node" },
    ]);
    expect(JSON.stringify(bench.audit)).not.toContain(body.token);
    expect(await bench.registry.joinTokens.consume(body.token)).toMatchObject({ outcome: "consumed" });
    expect(await bench.registry.joinTokens.consume(body.token)).toMatchObject({ outcome: "used" });
  });

  it("lets a token live ten minutes unless told otherwise", async () => {
    const { body } = await bench.send("POST", "/v1/join-tokens", {});
    expect(body.expires_at).toBe("2026-09-21T14:23:20Z");
  });

  it("shows no token where the making could not be written down", async () => {
    bench.auditBroken = true;
    const answer = await bench.send("POST", "/v1/join-tokens", {});
    expect(answer).toMatchObject({ status: 503, body: { code: "AUDIT_UNAVAILABLE" } });
    expect(JSON.stringify(answer.body)).not.toContain("token");
  });

  it.each([
    [{ ttl: 0 }, "INVALID_REQUEST"],
    [{ ttl: "31d" }, "INVALID_REQUEST"],
    [{ ttl: "ten minutes" }, "INVALID_REQUEST"],
    [{ ttl: 1.5 }, "INVALID_REQUEST"],
    [{ spiffe_id: "node" }, "INVALID_SPIFFE_ID"],
    [{ spiffe_id: "spiffe://other.org/node" }, "INVALID_ENTRY"],
    [{ spiffe_id: "spiffe://example.org/spire/server" }, "INVALID_ENTRY"],
    [{ token: "mine" }, "INVALID_REQUEST"],
  ])("refuses %j", async (body, code) => {
    expect(await bench.send("POST", "/v1/join-tokens", body)).toMatchObject({ status: 400, body: { code } });
    expect(bench.audit).toEqual([]);
  });
});
