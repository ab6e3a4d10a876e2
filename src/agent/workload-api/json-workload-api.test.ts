import { X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, HEADERS, first, uid, until } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { toPem } from "../../crypto/pem.ts";
import { buildAgentOpenApi } from "./json-workload-api.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("the JSON face", () => {
  const header = { "workload.spiffe.io": "true" };

  it("gives what gRPC gives, in PEM and base64", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const { status, body } = await harness.json("GET", "/v1/x509-svids", header);
    expect(status).toBe(200);
    const [svid] = (body as { svids: Record<string, string>[] }).svids;
    expect(svid?.["spiffe_id"]).toBe(web);
    const leaf = new X509Certificate(svid?.["certificate_chain_pem"] ?? "");
    expect(leaf.subjectAltName).toBe(`URI:${web}`);
    expect(Date.parse(svid?.["expires_at"] ?? "")).toBe(Date.parse(leaf.validTo));
    expect(svid).toHaveProperty(
      ["bundle", "certificates_pem"],
      toPem("CERTIFICATE", harness.authority.certificate),
    );

    const jwts = await harness.json("POST", "/v1/jwt-svids", header, { audience: ["a"] });
    const token = (jwts.body as { svids: { svid: string }[] }).svids[0]?.svid;
    const valid = await harness.json("POST", "/v1/jwt-svids/validate", header, {
      audience: "a",
      svid: token,
    });
    expect(valid.body).toMatchObject({ spiffe_id: web, claims: { aud: ["a"] } });
    const bundles = await harness.json("GET", "/v1/jwt-bundles", header);
    expect(bundles.body).toMatchObject({
      bundles: { "spiffe://example.org": { keys: [{ kid: harness.authority.keyId }] } },
    });
    const x509Bundles = await harness.json("GET", "/v1/x509-bundles", header);
    expect(Object.keys((x509Bundles.body as { bundles: object }).bundles)).toEqual(["spiffe://example.org"]);
    expect((await harness.json("GET", "/openapi.json")).body).toMatchObject({ openapi: "3.1.0" });
    expect((await harness.json("GET", "/live")).status).toBe(200);
    expect((await harness.json("GET", "/ready")).status).toBe(200);
  });

  it("refuses by the same rules, as problem documents", async () => {
    await harness.startReady();
    expect(await harness.json("GET", "/v1/x509-svids", header)).toMatchObject({
      status: 403,
      body: { code: "NO_IDENTITY_ISSUED" },
    });
    expect(await harness.json("GET", "/v1/x509-svids/watch", header)).toMatchObject({ status: 403 });
    expect(await harness.json("GET", "/v1/x509-svids")).toMatchObject({
      status: 400,
      body: { code: "SECURITY_HEADER_MISSING" },
    });
    expect(await harness.json("POST", "/v1/jwt-svids", header, { audience: [] })).toMatchObject({
      status: 400,
      body: { code: "INVALID_AUDIENCE" },
    });
    expect(await harness.json("POST", "/v1/jwt-svids", header, { audience: "a" })).toMatchObject({
      status: 400,
    });
    expect(await harness.json("POST", "/v1/jwt-svids", header, { audience: ["a"], extra: 1 })).toMatchObject({
      status: 400,
    });
    expect(
      await harness.json("POST", "/v1/jwt-svids", header, { audience: ["x".repeat(200_000)] }),
    ).toMatchObject({
      status: 413,
    });
    expect(await harness.json("GET", "/v1/nothing", header)).toMatchObject({ status: 404 });
  });

  it.each([
    { host: "evil.example" },
    { host: "localhost.evil.example" },
    { origin: "http://localhost" },
    { "sec-fetch-site": "cross-site" },
  ])("refuses what a web page would send: %j", async (extra) => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    expect(await harness.json("GET", "/v1/x509-svids", { ...header, ...extra })).toMatchObject({
      status: 400,
      body: { code: "INVALID_REQUEST" },
    });
  });

  it("streams changes as server-sent events", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const events = request({
      socketPath: harness.path("w.sock"),
      path: "/v1/x509-svids/watch",
      headers: header,
    });
    events.end();
    const texts: string[] = [];
    events.on("response", (response) =>
      response.setEncoding("utf8").on("data", (text: string) => texts.push(text)),
    );
    await until(() => texts.join("").includes(web));
    harness.server.put(fakeEntry(db, uid, { id: "2", createdAt: 1_800_000_000 }));
    await until(() => texts.join("").includes(db));
    expect(texts.join("")).toContain("event: x509-svids");
    events.destroy();
  });

  it("shows metrics on the admin socket alone", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    const { text } = await harness.json("GET", "/metrics", {}, undefined, "a.sock");
    expect(text).toContain("assay_agent_x509_svids 1");
    const [, ending = ""] = /^assay_agent_x509_svids_first_expiry_timestamp_seconds (\d+)$/m.exec(text) ?? [];
    expect(Number(ending)).toBeGreaterThan(0);
    expect(text).toContain('assay_agent_decisions_total{event="x509_svid.issue",outcome="issued"} 1');
    expect((await harness.json("GET", "/metrics")).status).toBe(404);
    expect(statSync(harness.path("a.sock")).mode & 0o777).toBe(0o600);
    expect(statSync(harness.path("w.sock")).mode & 0o777).toBe(0o777);
  });

  it("has an OpenAPI document without an agent", async () => {
    const document = (await buildAgentOpenApi("1.2.3")) as { info: object; paths: Record<string, object> };
    expect(document.info).toMatchObject({ version: "1.2.3" });
    expect(Object.keys(document.paths).toSorted()).toEqual([
      "/live",
      "/ready",
      "/v1/jwt-bundles",
      "/v1/jwt-svids",
      "/v1/jwt-svids/validate",
      "/v1/x509-bundles",
      "/v1/x509-svids",
      "/v1/x509-svids/watch",
    ]);
  });
});
