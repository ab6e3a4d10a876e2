import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TEST_NOW } from "../../../test/fakes/certificates.ts";
import {
  AGENT,
  OPERATOR,
  REQUEST_ID,
  webBench,
  type WebBench,
  withSvid,
} from "../../../test/fakes/web-app.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { Caller } from "../../issuance/caller.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const stranger: Caller = { address: "192.0.2.9" };
const local: Caller = { address: "", process: { pid: 1, uid: 0, gid: 0 } };
const workload = parseSpiffeId("spiffe://example.org/workload");
const guarded = [
  ["GET", "/v1/entries"],
  ["POST", "/v1/entries"],
  ["GET", "/v1/entries/e"],
  ["PATCH", "/v1/entries/e"],
  ["DELETE", "/v1/entries/e"],
  ["GET", "/v1/agents"],
  ["GET", "/v1/agents/a"],
  ["DELETE", "/v1/agents/a"],
  ["PUT", "/v1/agents/a/ban"],
  ["POST", "/v1/agents/purge"],
  ["POST", "/v1/join-tokens"],
  ["GET", "/v1/decisions/d"],
  ["GET", "/v1/bundles"],
  ["GET", "/v1/bundles/b"],
  ["PUT", "/v1/bundles/b"],
  ["DELETE", "/v1/bundles/b"],
  ["GET", "/v1/federation-relationships"],
  ["POST", "/v1/federation-relationships"],
  ["GET", "/v1/federation-relationships/b"],
  ["PATCH", "/v1/federation-relationships/b"],
  ["DELETE", "/v1/federation-relationships/b"],
  ["POST", "/v1/federation-relationships/b/refresh"],
  ["GET", "/v1/tasks"],
  ["GET", "/v1/tasks/e"],
  ["POST", "/v1/tasks/e/end"],
  ["GET", "/v1/tasks/e/explain"],
  ["POST", "/v1/task-attestors/n/explain"],
  ["POST", "/v1/revocations"],
] as const;

describe("the operator API's guard", () => {
  let bench: WebBench;

  beforeEach(async () => {
    bench = await webBench();
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it.each(guarded)("asks who calls %s %s before it reads anything", async (method, url) => {
    bench.caller = stranger;
    const answer = await bench.send(method, url, method === "GET" ? undefined : "{not json");
    expect(answer).toMatchObject({
      status: 401,
      headers: { "www-authenticate": "SPIFFE", "content-type": "application/problem+json" },
      body: { code: "CALLER_NOT_IDENTIFIED", type: "urn:assay:error:CALLER_NOT_IDENTIFIED" },
    });
    expect(answer.body).not.toHaveProperty("detail");
    expect(bench.audit).toEqual([]);
  });

  it("guards exactly the routes that the document says it guards", async () => {
    const document = (await bench.app.openapi()) as {
      paths: Record<string, Record<string, { security?: readonly object[] }>>;
    };
    const secured = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.entries(operations).flatMap(([method, { security }]) =>
        security?.some((scheme) => "adminSvid" in scheme) ? `${method.toUpperCase()} ${path}` : [],
      ),
    );
    const expected = guarded.map(([method, url]) =>
      `${method} ${url}`
        .replace(/\/(e|a|d)(?=\/|$)/, "/{id}")
        .replace(/\/b(?=\/|$)/, "/{trust_domain}")
        .replace(/\/n(?=\/|$)/, "/{name}"),
    );
    expect(secured.toSorted()).toEqual(expected.toSorted());
  });

  it("refuses an SVID that is no administrator's, and writes that down", async () => {
    bench.caller = withSvid(workload);
    expect(await bench.send("GET", "/v1/entries")).toMatchObject({
      status: 403,
      body: { code: "AUTHORIZATION_DENIED", detail: "the caller is no administrator" },
    });
    expect(bench.audit).toEqual([
      {
        event: "api.denied",
        outcome: "denied",
        code: "AUTHORIZATION_DENIED",
        method: "GET /v1/entries",
        request_id: REQUEST_ID,
        caller_id: workload,
        caller_address: "192.0.2.7",
        reasons: ["the caller is no administrator"],
      },
    ]);
  });

  it("refuses an agent's SVID and an administrator's that has expired", async () => {
    await bench.attest();
    for (const caller of [withSvid(AGENT), withSvid(OPERATOR, TEST_NOW)]) {
      bench.caller = caller;
      expect(await bench.send("GET", "/v1/agents")).toMatchObject({ status: 403 });
    }
  });

  it("refuses a caller whose SVID is trusted no longer", async () => {
    bench.caller = new AssayError("CALLER_NOT_IDENTIFIED", "client SVID: no path to a root");
    const answer = await bench.send("GET", "/v1/entries");
    expect(answer).toMatchObject({ status: 401, body: { code: "CALLER_NOT_IDENTIFIED" } });
    expect(JSON.stringify(answer.body)).not.toContain("no path");
  });

  it("lets nobody with an SVID fill the audit log", async () => {
    bench.caller = withSvid(workload);
    const statuses: number[] = [];
    for (let n = 0; n < 5; n++) statuses.push((await bench.send("GET", "/v1/entries")).status);
    expect(statuses).toEqual([403, 403, 403, 429, 429]);
    expect(bench.audit).toHaveLength(3);
    bench.caller = withSvid(parseSpiffeId("spiffe://example.org/other"));
    expect((await bench.send("GET", "/v1/entries")).status).toBe(403);
  });

  it("fails closed where a refusal cannot be written down", async () => {
    bench.caller = withSvid(workload);
    bench.auditBroken = true;
    expect(await bench.send("GET", "/v1/entries")).toMatchObject({
      status: 503,
      body: { code: "AUDIT_UNAVAILABLE" },
    });
  });

  it("takes a local caller and the holder of an entry with the admin flag for operators", async () => {
    bench.caller = local;
    expect((await bench.send("GET", "/v1/entries")).status).toBe(200);
    const created = await bench.send("POST", "/v1/entries", {
      spiffe_id: workload,
      parent_id: AGENT,
      selectors: ["unix:uid:1"],
      admin: true,
      expires_at: "2099-01-01T00:00:00Z",
    });
    expect(created.status).toBe(201);
    bench.caller = withSvid(workload);
    expect((await bench.send("GET", "/v1/entries")).status).toBe(200);
  });

  it("does not take a process for local that showed an SVID besides", async () => {
    bench.caller = { ...local, ...withSvid(workload) };
    expect((await bench.send("GET", "/v1/entries")).status).toBe(403);
  });

  it.each([
    [{ "sec-fetch-site": "cross-site" }, 403],
    [{ "sec-fetch-site": "same-site" }, 403],
    [{ origin: "https://evil.example" }, 403],
    [{ origin: "null" }, 403],
    [{ origin: "http://localhost" }, 403],
    [{ origin: "https://localhost" }, 200],
    [{ "sec-fetch-site": "same-origin", origin: "https://localhost" }, 200],
    [{ "sec-fetch-site": "none" }, 200],
  ])("answers a browser's request with %j by %i", async (headers, status) => {
    expect((await bench.send("GET", "/v1/entries", undefined, headers)).status).toBe(status);
  });

  it.each([
    ["text/plain", 415],
    ["application/x-www-form-urlencoded", 415],
    ["multipart/form-data; boundary=x", 415],
  ])("reads no body of type %s, which a page may send anywhere", async (type, status) => {
    const answer = await bench.send("POST", "/v1/join-tokens", "{}", { "content-type": type });
    expect(answer).toMatchObject({ status, body: { code: "UNSUPPORTED_MEDIA_TYPE" } });
    expect(bench.audit).toEqual([]);
  });
});

describe("the admin socket's face", () => {
  it.each([
    ["localhost", 200],
    ["LOCALHOST:80", 200],
    ["evil.example", 400],
    ["127.0.0.1", 400],
    ["localhost.evil.example", 400],
    ["a b", 400],
  ])("answers a request to the host %s by %i", async (host, status) => {
    await using bench = await webBench({ face: "admin" });
    bench.caller = local;
    expect((await bench.send("GET", "/v1/entries", undefined, { host })).status).toBe(status);
    expect((await bench.send("GET", "/live", undefined, { host })).status).toBe(status);
  });
});
