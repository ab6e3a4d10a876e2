import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  AGENT,
  OPERATOR,
  REQUEST_ID,
  sampleBundle,
  webBench,
  type WebBench,
} from "../../../test/fakes/web-app.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";

const ofTasks = {
  parent_id: "spiffe://example.org/spire/task/github-acme",
  selectors: ["github:repository_id:1"],
  id_template: "/ci/{repository_id}/run/{run_id}",
  max_task_duration: "1h30m",
};
const minimal = { spiffe_id: "spiffe://example.org/db", parent_id: AGENT, selectors: ["unix:uid:1000"] };
let bench: WebBench;

beforeEach(async () => {
  bench = await webBench();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("POST /v1/entries", () => {
  it("creates an entry with every field, and says where it is", async () => {
    await bench.store.bundles.put(sampleBundle(parseTrustDomain("partner.example")), "create");
    const answer = await bench.send("POST", "/v1/entries", {
      id: "db-1",
      spiffe_id: "spiffe://example.org/db",
      parent_id: AGENT,
      selectors: ["unix:uid:1000", "unix:path:/bin/a:b"],
      x509_svid_ttl: "1h30m",
      jwt_svid_ttl: 90,
      federates_with: ["spiffe://partner.example"],
      admin: true,
      downstream: true,
      store_svid: false,
      expires_at: "2030-01-31T13:00:00.9+01:00",
      dns_names: ["db.example.org"],
      hint: "internal",
      disable_x509_svid_prefetch: true,
      jwt_svid_include_jti: true,
      exchange_audiences: ["https://b.example", "https://a.example"],
      svid_key_type: "ec-p384",
    });
    expect(answer).toMatchObject({ status: 201, headers: { location: "/v1/entries/db-1", etag: '"0"' } });
    expect(answer.body).toEqual({
      id: "db-1",
      revision: 0,
      created_at: "2026-09-21T14:13:20Z",
      spiffe_id: "spiffe://example.org/db",
      parent_id: AGENT,
      selectors: ["unix:path:/bin/a:b", "unix:uid:1000"],
      x509_svid_ttl: 5400,
      jwt_svid_ttl: 90,
      federates_with: ["partner.example"],
      admin: true,
      downstream: true,
      store_svid: false,
      expires_at: "2030-01-31T12:00:00Z",
      dns_names: ["db.example.org"],
      hint: "internal",
      disable_x509_svid_prefetch: true,
      jwt_svid_include_jti: true,
      id_template: "",
      max_task_duration: 0,
      exchange_audiences: ["https://a.example", "https://b.example"],
      svid_key_type: "ec-p384",
    });
    expect(bench.registry.entries.get("db-1")?.x509SvidTtl).toBe(5400);
  });

  it("creates an entry of tasks, whose template gives the ID, and says so in the audit log", async () => {
    const { status, body } = await bench.send("POST", "/v1/entries", { id: "ci", ...ofTasks });
    expect({ status, body }).toMatchObject({
      status: 201,
      body: {
        spiffe_id: "spiffe://example.org/ci",
        id_template: "/ci/{repository_id}/run/{run_id}",
        max_task_duration: 5400,
        exchange_audiences: [],
      },
    });
    expect(bench.audit).toMatchObject([{ reasons: ["id template /ci/{repository_id}/run/{run_id}"] }]);
    const path = "/v1/entries/ci";
    const moved = await bench.send("PATCH", path, {
      id_template: "/builds/{run_id}",
      exchange_audiences: ["a"],
    });
    expect(moved.body).toMatchObject({
      spiffe_id: "spiffe://example.org/builds",
      max_task_duration: 5400,
      exchange_audiences: ["a"],
    });
    expect(bench.audit[1]).toMatchObject({ reasons: ["id template /builds/{run_id}", "exchange for a"] });
    expect(await bench.send("PATCH", path, { spiffe_id: "spiffe://example.org/x" })).toMatchObject({
      status: 400,
      body: { code: "INVALID_ENTRY" },
    });
  });

  it("writes one audit record that tells who made which entry", async () => {
    await bench.send("POST", "/v1/entries", { ...minimal, id: "db-1", admin: true });
    expect(bench.audit).toEqual([
      {
        event: "entry.created",
        outcome: "done",
        method: "POST /v1/entries",
        request_id: REQUEST_ID,
        caller_id: OPERATOR,
        caller_address: "192.0.2.7",
        entry_id: "db-1",
        entry_revision: 0,
        parent_id: AGENT,
        spiffe_id: "spiffe://example.org/db",
        selectors: ["unix:uid:1000"],
        reasons: ["admin"],
      },
    ]);
  });

  it("chooses an id and the defaults where the operator does not", async () => {
    const { body } = await bench.send("POST", "/v1/entries", minimal);
    expect(body).toMatchObject({
      x509_svid_ttl: 0,
      federates_with: [],
      admin: false,
      expires_at: null,
      hint: "",
    });
    expect(body.id).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("refuses an entry that is there already, and names it", async () => {
    await bench.send("POST", "/v1/entries", { ...minimal, id: "first" });
    expect(await bench.send("POST", "/v1/entries", minimal)).toMatchObject({
      status: 409,
      body: { code: "ALREADY_EXISTS", detail: expect.stringContaining("first") as string },
    });
    expect(bench.audit).toHaveLength(1);
  });

  it.each<[string, object, number, string, string]>([
    ["no selector", { selectors: [] }, 400, "INVALID_REQUEST", "/selectors"],
    ["a selector without colon", { selectors: ["unix"] }, 400, "INVALID_SELECTOR", "/selectors/0"],
    [
      "a selector without value",
      { selectors: ["unix:uid:1", "unix:"] },
      400,
      "INVALID_SELECTOR",
      "/selectors/1",
    ],
    [
      "a malformed SPIFFE ID",
      { spiffe_id: "spiffe://example.org/a//b" },
      400,
      "INVALID_SPIFFE_ID",
      "/spiffe_id",
    ],
    ["a foreign SPIFFE ID", { spiffe_id: "spiffe://other.org/a" }, 400, "INVALID_ENTRY", "/spiffe_id"],
    [
      "a reserved SPIFFE ID",
      { spiffe_id: "spiffe://example.org/spire/x" },
      400,
      "INVALID_ENTRY",
      "/spiffe_id",
    ],
    ["a malformed parent", { parent_id: "http://example.org" }, 400, "INVALID_SPIFFE_ID", "/parent_id"],
    ["a number for an ID", { spiffe_id: 7 }, 400, "INVALID_REQUEST", "/spiffe_id"],
    ["a negative lifetime", { x509_svid_ttl: -1 }, 400, "INVALID_REQUEST", "/x509_svid_ttl"],
    ["a lifetime without unit", { jwt_svid_ttl: "90" }, 400, "INVALID_REQUEST", "/jwt_svid_ttl"],
    ["a lifetime beyond 32 bits", { x509_svid_ttl: "99999d" }, 400, "INVALID_REQUEST", "/x509_svid_ttl"],
    ["a time without zone", { expires_at: "2030-01-31T12:00:00" }, 400, "INVALID_REQUEST", "/expires_at"],
    ["a time that is none", { expires_at: "2030-02-31T12:00:00Z" }, 400, "INVALID_REQUEST", "/expires_at"],
    [
      "a time before the epoch",
      { expires_at: "1950-01-01T00:00:00Z" },
      400,
      "INVALID_REQUEST",
      "/expires_at",
    ],
    ["a DNS name that is none", { dns_names: ["a b"] }, 400, "INVALID_ENTRY", "/dns_names/0"],
    ["a hint beyond 1024 bytes", { hint: "é".repeat(600) }, 400, "INVALID_ENTRY", "/hint"],
    [
      "an unknown federated bundle",
      { federates_with: ["none.example"] },
      400,
      "INVALID_ENTRY",
      "/federates_with",
    ],
    [
      "a malformed trust domain",
      { federates_with: ["A B"] },
      400,
      "INVALID_TRUST_DOMAIN",
      "/federates_with/0",
    ],
    ["an id with a slash", { id: "a/b" }, 400, "INVALID_ENTRY", "/id"],
    ["neither an ID nor a template", { spiffe_id: undefined }, 400, "INVALID_REQUEST", "/spiffe_id"],
    [
      "no ID beside an empty template",
      { spiffe_id: undefined, id_template: "" },
      400,
      "INVALID_REQUEST",
      "/spiffe_id",
    ],
    [
      "a template of a workload",
      { spiffe_id: undefined, id_template: "/a/{b}" },
      400,
      "INVALID_ENTRY",
      "/id_template",
    ],
    [
      "a template beyond its prefix",
      { ...ofTasks, id_template: "/ci/../{b}" },
      400,
      "INVALID_ENTRY",
      "/id_template",
    ],
    ["a template and another ID", { ...ofTasks }, 400, "INVALID_ENTRY", "/spiffe_id"],
    [
      "a task of seven hours",
      { ...ofTasks, max_task_duration: "7h" },
      400,
      "INVALID_REQUEST",
      "/max_task_duration",
    ],
    ["a workload's task", { max_task_duration: 60 }, 400, "INVALID_ENTRY", "/max_task_duration"],
    ["an empty audience", { exchange_audiences: [""] }, 400, "INVALID_REQUEST", "/exchange_audiences/0"],
    [
      "an audience beyond 1024 bytes",
      { exchange_audiences: ["é".repeat(600)] },
      400,
      "INVALID_AUDIENCE",
      "/exchange_audiences/0",
    ],
    [
      "a parent that is no task attestor",
      { parent_id: "spiffe://example.org/spire/task/A" },
      400,
      "INVALID_ENTRY",
      "/parent_id",
    ],
    ["a member it does not know", { tll: 1 }, 400, "INVALID_REQUEST", "tll"],
    ["a revision", { revision: 3 }, 400, "INVALID_REQUEST", "revision"],
    [
      "a store_svid of two types",
      { store_svid: true, selectors: ["a:b", "c:d"] },
      400,
      "INVALID_ENTRY",
      "/selectors",
    ],
  ])("refuses %s and changes nothing", async (_, change, status, code, where) => {
    const answer = await bench.send("POST", "/v1/entries", { ...minimal, ...change });
    expect(answer).toMatchObject({ status, body: { code } });
    expect(answer.body.detail).toContain(where);
    expect(JSON.stringify(answer.body)).not.toMatch(/spiffeId|x509SvidTtl|dnsNames|federatesWith/);
    expect((await bench.send("GET", "/v1/entries")).body).toEqual({ entries: [] });
    expect(bench.audit).toEqual([]);
  });

  it.each<[string, string]>([
    ["an array", "[]"],
    ["text that is no JSON", "{"],
    ["null", "null"],
    ["nothing", ""],
    ["a prototype", '{"__proto__":{"admin":true}}'],
  ])("refuses a body that is %s", async (_, body) => {
    expect(await bench.send("POST", "/v1/entries", body)).toMatchObject({
      status: 400,
      body: { code: "INVALID_REQUEST" },
    });
  });

  it("does not acknowledge what it could not write down", async () => {
    bench.auditBroken = true;
    const answer = await bench.send("POST", "/v1/entries", minimal);
    expect(answer).toMatchObject({ status: 503, body: { code: "AUDIT_UNAVAILABLE" } });
    expect(JSON.stringify(answer.body)).not.toContain("/dev/sda1");
  });
});

describe("GET /v1/entries", () => {
  beforeEach(async () => {
    for (const [id, selectors, hint] of [
      ["a", ["unix:uid:1"], "x"],
      ["b", ["unix:uid:1", "unix:gid:2"], "y"],
      ["c", ["unix:gid:2"], "x"],
    ] as const) {
      const spiffe_id = `spiffe://example.org/${id}`;
      const made = await bench.send("POST", "/v1/entries", {
        id,
        spiffe_id,
        parent_id: AGENT,
        selectors,
        hint,
        downstream: id === "c",
      });
      expect(made.status).toBe(201);
    }
  });

  it.each([
    ["", ["a", "b", "c"]],
    ["?spiffe_id=spiffe://example.org/b", ["b"]],
    [`?parent_id=${AGENT}`, ["a", "b", "c"]],
    ["?parent_id=spiffe://example.org/none", []],
    ["?selector=unix:uid:1", ["a", "b"]],
    ["?selector=unix:uid:1&selector=unix:gid:2", ["b"]],
    ["?selector=unix:uid:1&selector=unix:gid:2&selector_match=any", ["a", "b", "c"]],
    ["?selector=unix:uid:1&selector_match=exact", ["a"]],
    ["?selector=unix:uid:1&selector=unix:uid:9&selector_match=subset", ["a"]],
    ["?hint=x", ["a", "c"]],
    ["?downstream=true", ["c"]],
    ["?downstream=false", ["a", "b"]],
    ["?federates_with=partner.example", []],
  ])("finds by %s", async (query, ids) => {
    const { status, body } = await bench.send("GET", `/v1/entries${query}`);
    expect(status).toBe(200);
    expect(body.entries.map(({ id }) => id)).toEqual(ids);
  });

  it("gives pages that go on where the last one ended while entries come and go", async () => {
    const first = (await bench.send("GET", "/v1/entries?page_size=2")).body;
    expect(first.entries.map(({ id }) => id)).toEqual(["a", "b"]);
    await bench.send("DELETE", "/v1/entries/b");
    const second = (await bench.send("GET", `/v1/entries?page_size=2&page_token=${first.next_page_token}`))
      .body;
    expect(second.entries.map(({ id }) => id)).toEqual(["c"]);
    expect(second).not.toHaveProperty("next_page_token");
  });

  it.each([
    ["?spiffe_id=nonsense", "INVALID_SPIFFE_ID"],
    ["?parent_id=spiffe://", "INVALID_SPIFFE_ID"],
    ["?selector=unix", "INVALID_SELECTOR"],
    ["?selector=", "INVALID_REQUEST"],
    ["?selector_match=almost", "INVALID_REQUEST"],
    ["?federates_with=A", "INVALID_TRUST_DOMAIN"],
    ["?downstream=yes", "INVALID_REQUEST"],
    ["?page_size=0", "INVALID_REQUEST"],
    ["?page_size=1001", "INVALID_REQUEST"],
    ["?page_size=1.5", "INVALID_REQUEST"],
    ["?page_token=AAAA", "INVALID_PAGE_TOKEN"],
    ["?page_token=", "INVALID_REQUEST"],
    ["?spiffeid=spiffe://example.org/a", "INVALID_REQUEST"],
    ["?hint=a&hint=b", "INVALID_REQUEST"],
  ])("refuses %s", async (query, code) => {
    expect(await bench.send("GET", `/v1/entries${query}`)).toMatchObject({ status: 400, body: { code } });
  });
});

describe("/v1/entries/{id}", () => {
  beforeEach(async () => {
    await bench.send("POST", "/v1/entries", { ...minimal, id: "db", hint: "old", x509_svid_ttl: "1h" });
    bench.audit.length = 0;
  });

  it("reads an entry with its revision as entity tag", async () => {
    expect(await bench.send("GET", "/v1/entries/db")).toMatchObject({
      status: 200,
      headers: { etag: '"0"' },
      body: { id: "db", hint: "old", x509_svid_ttl: 3600 },
    });
  });

  it("changes what is named and leaves the rest", async () => {
    expect(await bench.send("PATCH", "/v1/entries/db", { hint: "new" }, { "if-match": '"0"' })).toMatchObject(
      {
        status: 200,
        headers: { etag: '"1"' },
        body: { revision: 1, hint: "new", x509_svid_ttl: 3600, selectors: ["unix:uid:1000"] },
      },
    );
    expect(bench.audit).toMatchObject([
      { event: "entry.updated", method: "PATCH /v1/entries/:id", entry_id: "db", entry_revision: 1 },
    ]);
  });

  it("takes an expiry away with null", async () => {
    await bench.send("PATCH", "/v1/entries/db", { expires_at: "2030-01-01T00:00:00Z" });
    expect(bench.registry.entries.get("db")?.expiresAt).toBe(1_893_456_000);
    expect((await bench.send("PATCH", "/v1/entries/db", { expires_at: null })).body.expires_at).toBeNull();
  });

  it("refuses a change of a revision that is not the present one", async () => {
    await bench.send("PATCH", "/v1/entries/db", { hint: "new" });
    expect(
      await bench.send("PATCH", "/v1/entries/db", { hint: "newer" }, { "if-match": '"0"' }),
    ).toMatchObject({
      status: 412,
      body: { code: "STALE_REVISION" },
    });
    expect(bench.registry.entries.get("db")?.hint).toBe("new");
    expect(bench.audit).toHaveLength(1);
  });

  it.each([
    ["no member", {}, {}, 400, "INVALID_REQUEST"],
    ["an unknown member", { ttl: 1 }, {}, 400, "INVALID_REQUEST"],
    ["another id", { id: "x" }, {}, 400, "INVALID_REQUEST"],
    ["null for a hint", { hint: null }, {}, 400, "INVALID_REQUEST"],
    ["no selectors", { selectors: [] }, {}, 400, "INVALID_REQUEST"],
    ["a foreign ID", { spiffe_id: "spiffe://other.org/a" }, {}, 400, "INVALID_ENTRY"],
    ["a weak tag", { hint: "n" }, { "if-match": 'W/"0"' }, 400, "INVALID_REQUEST"],
    ["any tag", { hint: "n" }, { "if-match": "*" }, 400, "INVALID_REQUEST"],
    ["several tags", { hint: "n" }, { "if-match": '"0", "1"' }, 400, "INVALID_REQUEST"],
  ])("refuses a change with %s", async (_, body, headers, status, code) => {
    expect(await bench.send("PATCH", "/v1/entries/db", body, headers)).toMatchObject({
      status,
      body: { code },
    });
    expect(bench.registry.entries.get("db")?.revision).toBe(0);
    expect(bench.audit).toEqual([]);
  });

  it("refuses a change that makes it the same as another", async () => {
    await bench.send("POST", "/v1/entries", { ...minimal, id: "two", selectors: ["unix:uid:2"] });
    expect(await bench.send("PATCH", "/v1/entries/two", { selectors: ["unix:uid:1000"] })).toMatchObject({
      status: 409,
      body: { code: "ALREADY_EXISTS", detail: expect.stringContaining("db") as string },
    });
  });

  it("deletes an entry once", async () => {
    expect(await bench.send("DELETE", "/v1/entries/db")).toMatchObject({ status: 204, body: "" });
    expect(bench.audit).toMatchObject([{ event: "entry.deleted", entry_id: "db" }]);
    expect(await bench.send("DELETE", "/v1/entries/db")).toMatchObject({
      status: 404,
      body: { code: "ENTRY_NOT_FOUND" },
    });
    expect(bench.audit).toHaveLength(1);
  });

  it("refuses a condition that a deletion cannot keep", async () => {
    expect(await bench.send("DELETE", "/v1/entries/db", undefined, { "if-match": '"0"' })).toMatchObject({
      status: 400,
      body: { code: "INVALID_REQUEST" },
    });
    expect(bench.registry.entries.get("db")).toBeDefined();
  });

  it.each([
    ["GET", "/v1/entries/none", 404, "ENTRY_NOT_FOUND"],
    ["PATCH", "/v1/entries/none", 404, "ENTRY_NOT_FOUND"],
    ["DELETE", "/v1/entries/none", 404, "ENTRY_NOT_FOUND"],
    ["GET", "/v1/entries/a%2Fb", 400, "INVALID_REQUEST"],
    ["GET", `/v1/entries/${"x".repeat(256)}`, 400, "INVALID_REQUEST"],
    ["PUT", "/v1/entries/db", 405, "METHOD_NOT_ALLOWED"],
  ] as const)("answers %s %s by %i", async (method, url, status, code) => {
    const body = method === "PATCH" ? { hint: "x" } : undefined;
    expect(await bench.send(method, url, body)).toMatchObject({ status, body: { code } });
  });
});
