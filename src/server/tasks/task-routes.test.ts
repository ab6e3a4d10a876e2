import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { TaskBench } from "../../../test/fakes/task-bench.ts";
import { type WebBench, webBench, withSvid } from "../../../test/fakes/web-app.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { RateLimiter } from "../../issuance/rate-limiter.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { TaskRecord } from "../../store/task-store.ts";

let world: TaskBench;
let web: WebBench;
let task: TaskRecord;
/** Who the guard says is calling. */
let calling: TaskRecord | AssayError;
const own = parseTrustDomain("example.org");
const partner = parseTrustDomain("partner.example");

beforeEach(async () => {
  world = await TaskBench.open({ wit: true });
  await world.entry({ hint: "app" });
  task = await world.open();
  calling = task;
  const shared = {
    taskRecords: world.store.tasks,
    credentials: world.store.credentials,
    taskIssuance: world.issuance,
  };
  web = await webBench({
    ...shared,
    taskApi: {
      ...shared,
      trustDomain: own,
      taskGuard: {
        async admit(request, reply) {
          reply.header("dpop-nonce", "fresh");
          if (request.headers.authorization !== "DPoP token" || calling instanceof AssayError) {
            throw calling instanceof AssayError ? calling : new AssayError("INVALID_ACCESS_TOKEN", "none");
          }
          return world.tasks.active(calling.id);
        },
      },
      callerOf: () => withSvid(),
      taskLimit: new RateLimiter({ perSecond: 1, burst: 20 }, world.bench.clock),
      bundleOf: (name) => (name === own ? world.bench.signing.bundle() : foreign(name)),
      crlsOf: (name) => (name === own ? [Uint8Array.of(1, 2, 3)] : []),
    },
  });
});
afterEach(async () => {
  await web[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

function foreign(trustDomain: typeof own): SpiffeBundle {
  return { ...world.bench.signing.bundle(), trustDomain, sequence: 2n ** 60n + 1n };
}

function send(method: "GET" | "POST", url: string, body?: unknown) {
  return web.send(method, url, body, { authorization: "DPoP token" });
}

const csr = () => Buffer.from(makeCsr()).toString("base64");
const ROUTES = [
  ["GET", "/v1/task"],
  ["GET", "/v1/task/bundles"],
  ["POST", "/v1/task/x509-svid"],
  ["POST", "/v1/task/jwt-svid"],
  ["POST", "/v1/task/wit-svid"],
  ["POST", "/v1/task/heartbeat"],
  ["POST", "/v1/task/end"],
] as const;

describe("the task API", () => {
  it.each(ROUTES)("asks who calls %s %s before it reads anything", async (method, url) => {
    const answer = await web.send(method, url, method === "GET" ? undefined : "{not json");
    expect(answer).toMatchObject({
      status: 401,
      headers: { "dpop-nonce": "fresh" },
      body: { code: "INVALID_ACCESS_TOKEN" },
    });
  });

  it.each(ROUTES)("refuses %s %s for a task that is over", async (method, url) => {
    await world.tasks.end(task.id, "operator");
    expect(await send(method, url, method === "GET" ? undefined : {})).toMatchObject({
      status: 409,
      body: { code: "TASK_OVER" },
    });
  });

  it("shows a job its own task", async () => {
    expect(await send("GET", "/v1/task")).toMatchObject({
      status: 200,
      headers: { "dpop-nonce": "fresh" },
      body: {
        id: task.id,
        state: "active",
        platform: "github-actions",
        attestor: "github-acme",
        lease: 120,
        lease_expires_at: "2026-11-22T12:02:00Z",
        hard_end: "2026-11-22T18:00:00Z",
        identities: [{ spiffe_id: "spiffe://example.org/ci/app", hint: "app" }],
      },
    });
  });

  it("gives X509-SVIDs", async () => {
    const { status, body } = await send("POST", "/v1/task/x509-svid", { csr: csr() });
    const answer = body as unknown as { x509_svid: string[]; spiffe_id: string; hint: string };
    expect(status).toBe(200);
    expect(answer).toMatchObject({ spiffe_id: "spiffe://example.org/ci/app", hint: "app" });
    expect(body.expires_at).toBe("2026-11-22T12:02:30Z");
    world.bench.validated(answer.x509_svid.map((der) => Buffer.from(der, "base64")));
    // Whose connection it came over is nothing of the task's.
    expect(world.bench.audit.records.at(-1)).not.toHaveProperty("caller_id");
  });

  it("gives JWT-SVIDs and WIT-SVIDs", async () => {
    const audience = ["db"];
    expect(await send("POST", "/v1/task/jwt-svid", { audience, status: true })).toMatchObject({
      status: 200,
      body: { jwt_svid: expect.stringMatching(/^ey/) as string, spiffe_id: "spiffe://example.org/ci/app" },
    });
    const public_key = Buffer.from(makeKey().spki).toString("base64");
    expect(await send("POST", "/v1/task/wit-svid", { public_key, signing_algorithm: "ES256" })).toMatchObject(
      {
        status: 200,
        body: { wit_svid: expect.stringMatching(/^ey/) as string },
      },
    );
  });

  it.each([
    ["x509-svid", {}, "INVALID_REQUEST"],
    ["x509-svid", { csr: "AAAA" }, "INVALID_CSR"],
    ["x509-svid", { csr: "not base64!" }, "INVALID_REQUEST"],
    ["x509-svid", { csr: "A".repeat(30_000) }, "INVALID_REQUEST"],
    ["x509-svid", { csr: "AAAA", ttl: 5 }, "INVALID_REQUEST"],
    ["jwt-svid", { audience: [] }, "INVALID_REQUEST"],
    ["jwt-svid", { audience: ["db"], spiffe_id: "https://x" }, "INVALID_SPIFFE_ID"],
    ["jwt-svid", { audience: Array.from({ length: 33 }, (_, i) => `a${i}`) }, "INVALID_REQUEST"],
    ["wit-svid", { public_key: "AAAA", signing_algorithm: "ES256" }, "INVALID_REQUEST"],
    ["wit-svid", { public_key: "AAAA", signing_algorithm: "none" }, "INVALID_REQUEST"],
  ])("refuses %s for %j", async (route, body, code) => {
    expect(await send("POST", `/v1/task/${route}`, body)).toMatchObject({ status: 400, body: { code } });
  });

  it("gives nothing for an identity that the task does not have", async () => {
    const body = { csr: csr(), spiffe_id: "spiffe://example.org/admin" };
    expect(await send("POST", "/v1/task/x509-svid", body)).toMatchObject({
      status: 403,
      body: { code: "NO_IDENTITY_ISSUED" },
    });
  });

  it("gives the own bundle and those that the task's entries federate with, and revocation lists", async () => {
    await world.store.bundles.put(foreign(partner), "set");
    await world.entry({ spiffeId: "spiffe://example.org/ci/meets", federatesWith: [partner] });
    const { status, headers, body } = await send("GET", "/v1/task/bundles");
    expect(status).toBe(200);
    expect(headers["content-type"]).toContain("application/json");
    const { trust_domains, crls } = body as unknown as {
      trust_domains: Record<string, { keys: unknown[] }>;
      crls: object;
    };
    expect(Object.keys(trust_domains)).toEqual(["example.org", "partner.example"]);
    expect(trust_domains["example.org"]?.keys.length).toBeGreaterThan(0);
    expect(crls).toEqual({ "example.org": ["AQID"] });
  });

  it("keeps the task alive by heartbeats", async () => {
    await world.bench.clock.advance(60_000);
    expect(await send("POST", "/v1/task/heartbeat")).toMatchObject({
      status: 200,
      body: { id: task.id, state: "active", lease_expires_at: "2026-11-22T12:03:00Z" },
    });
  });

  it("ends the task and says who did", async () => {
    expect(await send("POST", "/v1/task/end")).toMatchObject({ status: 200, body: { state: "ending" } });
    expect(world.bench.audit.records.at(-1)).toMatchObject({
      event: "task.ended",
      reason: "job",
      caller_address: "192.0.2.7",
      task_id: task.id,
    });
    expect(await send("POST", "/v1/task/heartbeat")).toMatchObject({ status: 409 });
  });

  it("lets one task ask for only so much, and another go on", async () => {
    const answers = [];
    for (let i = 0; i < 21; i++) answers.push((await send("GET", "/v1/task")).status);
    expect(answers.filter((status) => status === 429)).toHaveLength(1);
    calling = await world.open({ taskKey: "another" });
    expect((await send("GET", "/v1/task")).status).toBe(200);
  });
});

describe("the operators' tasks", () => {
  const list = async (query = "") => {
    const { body } = await web.send("GET", `/v1/tasks${query}`);
    return body as unknown as { tasks: { id: string }[]; next_page_token?: string };
  };

  it("are listed, the newest first, in pages", async () => {
    const second = await world.open({ taskKey: "2" });
    const third = await world.open({ taskKey: "3" });
    const first = await list("?page_size=2");
    expect(first.tasks.map(({ id }) => id)).toEqual([third.id, second.id]);
    const rest = await list(`?page_size=2&page_token=${first.next_page_token ?? ""}`);
    expect(rest.tasks.map(({ id }) => id)).toEqual([task.id]);
    expect(rest).not.toHaveProperty("next_page_token");
  });

  it("are filtered by state, attestor and SPIFFE ID", async () => {
    const second = await world.open({ taskKey: "2" });
    await world.issuance.x509Svid(world.caller(second), { csr: makeCsr() });
    await world.tasks.end(second.id, "operator");
    const ids = async (query: string) => (await list(query)).tasks.map(({ id }) => id);
    expect(await ids("?state=ending")).toEqual([second.id]);
    expect(await ids("?state=active")).toEqual([task.id]);
    expect(await ids("?state=ended")).toEqual([]);
    expect(await ids("?attestor=github-acme")).toEqual([second.id, task.id]);
    expect(await ids("?attestor=other")).toEqual([]);
    expect(await ids("?spiffe_id=spiffe://example.org/ci/app")).toEqual([second.id, task.id]);
    expect(await ids("?spiffe_id=spiffe://example.org/ci/other")).toEqual([]);
  });

  it.each([
    ["?state=gone", "INVALID_REQUEST"],
    ["?page_token=x", "INVALID_PAGE_TOKEN"],
    ["?page_token=YmVmb3JlOjFlMQ", "INVALID_PAGE_TOKEN"],
    ["?spiffe_id=x", "INVALID_SPIFFE_ID"],
    ["?unknown=1", "INVALID_REQUEST"],
  ])("cannot be listed by %s", async (query, code) => {
    expect(await web.send("GET", `/v1/tasks${query}`)).toMatchObject({ status: 400, body: { code } });
  });

  it("show what was issued and what the platform and the author said, and no secret", async () => {
    const { svid } = await world.issuance.jwtSvid(world.caller(task), { audience: ["db"], status: false });
    const answer = await web.send("GET", `/v1/tasks/${task.id}`);
    expect(answer).toMatchObject({
      status: 200,
      body: {
        task: {
          id: task.id,
          claims: { repository_id: "42", run_id: "7" },
          author_claims: { ref: "refs/heads/main" },
          key_thumbprint: task.keyThumbprint,
          ended_at: null,
          end_reason: null,
        },
        credentials: [
          { kind: "jwt", id: svid.tokenId, spiffe_id: "spiffe://example.org/ci/app", revoked_at: null },
        ],
      },
    });
    expect(JSON.stringify(answer.body)).not.toContain(svid.token);
  });

  it("are ended once, by whom is written down", async () => {
    for (let i = 0; i < 2; i++) {
      expect(await web.send("POST", `/v1/tasks/${task.id}/end`)).toMatchObject({
        status: 200,
        body: { id: task.id, state: "ending", end_reason: "operator", ended_at: "2026-11-22T12:00:00Z" },
      });
    }
    const ends = world.bench.audit.records.filter(({ event }) => event === "task.ended");
    expect(ends).toMatchObject([
      { reason: "operator", caller_id: "spiffe://example.org/operator", method: "POST /v1/tasks/:id/end" },
    ]);
  });

  it.each(["00000000-0000-4000-8000-00000000ffff", "nonsense"])("are not there for the id %s", async (id) => {
    const status = id === "nonsense" ? 400 : 404;
    expect(await web.send("GET", `/v1/tasks/${id}`)).toMatchObject({ status });
    expect(await web.send("POST", `/v1/tasks/${id}/end`)).toMatchObject({ status });
  });
});
