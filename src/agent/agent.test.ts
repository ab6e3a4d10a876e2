import { randomUUID, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../test/fakes/agent-authority.ts";
import { FakeAgentServer, fakeEntry } from "../../test/fakes/agent-server.ts";
import { systemClock } from "../clock.ts";
import { toPem } from "../crypto/pem.ts";
import { openAuditLog } from "../observe/audit-log.ts";
import { silentLog } from "../observe/log.ts";
import { createMetrics } from "../observe/metrics.ts";
import { Explain } from "../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Status } from "../proto/gen/assay/api/agent/v1/status_pb.ts";
import { Decision_Outcome } from "../proto/gen/assay/api/types/v1/decision_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../proto/gen/grpc/health/v1/health_pb.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../rpc/client.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { startAgent } from "./agent.ts";
import type { AgentOptions, RunningAgent } from "./agent-options.ts";

const trustDomain = parseTrustDomain("example.org");
const uid = process.geteuid?.() ?? 0;
const HEADERS = { headers: { "workload.spiffe.io": "true" } };
const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");

let folder: string;
let server: FakeAgentServer;
let authority: FakeAuthority;
let cleanup: AsyncDisposableStack;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = mkdtempSync(join(tmpdir(), "agent-"));
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  authority = await FakeAuthority.create(trustDomain, systemClock);
  server = cleanup.use(new FakeAgentServer(authority, systemClock));
  server.tokens.add("t");
  await server.start();
});

afterEach(() => cleanup.disposeAsync());

function options(changes: Partial<AgentOptions> = {}): AgentOptions {
  return {
    trustDomain,
    server: { host: "127.0.0.1", port: server.port },
    dataDir: join(folder, "data"),
    socketPath: join(folder, "w.sock"),
    adminSocketPath: join(folder, "a.sock"),
    trustBundle: { kind: "bundle", bundle: authority.bundle() },
    nodeAttestor: { name: "join_token", config: { token: "t" } },
    workloadAttestors: [{ name: "unix" }],
    rateLimit: "off",
    ...changes,
  };
}

async function start(changes: Partial<AgentOptions> = {}): Promise<RunningAgent> {
  const agent = await startAgent(options(changes), {
    clock: systemClock,
    log: silentLog,
    metrics: createMetrics({ process: false }),
    version: "test",
    openAudit: () => openAuditLog({ path: join(folder, "audit.jsonl"), clock: systemClock, fsync: "never" }),
  });
  cleanup.use(agent);
  return agent;
}

async function startReady(changes: Partial<AgentOptions> = {}): Promise<RunningAgent> {
  const agent = await start(changes);
  await agent.ready;
  return agent;
}

function workloadApi() {
  const client = new RpcClient({ target: { kind: "unix", path: join(folder, "w.sock") } });
  cleanup.defer(() => client[Symbol.dispose]());
  return client.service(SpiffeWorkloadAPI);
}

function adminClient(): RpcClient {
  const client = new RpcClient({ target: { kind: "unix", path: join(folder, "a.sock") } });
  cleanup.defer(() => client[Symbol.dispose]());
  return client;
}

function audit(): Record<string, unknown>[] {
  return readFileSync(join(folder, "audit.jsonl"), "utf8")
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The first message of a stream, which is then left. */
async function first<Item>(stream: AsyncGenerator<Item, void, undefined>): Promise<Item> {
  for await (const item of stream) return item;
  throw new Error("the stream ended without a message");
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe("an agent with its server", () => {
  it("attests, and serves the caller its X509-SVID with key and bundle", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1", hint: "internal" }));
    server.entries.set("2", fakeEntry(db, uid + 1, { id: "2" }));
    const agent = await startReady();
    expect(agent.agentId).toBe("spiffe://example.org/spire/agent/join_token/t");

    const { svids } = await first(workloadApi().fetchX509SVID({}, HEADERS));
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([[web, "internal"]]);
    const leaf = new X509Certificate(svids[0]?.x509Svid ?? new Uint8Array());
    expect(leaf.subjectAltName).toBe(`URI:${web}`);
    expect(Buffer.from(svids[0]?.bundle ?? [])).toEqual(Buffer.from(authority.certificate));
    expect(server.versions).toEqual(["test"]);
  });

  it("gives its server's challenge to the attestor, and ends where that has no answer", async () => {
    server.challenge = Buffer.from("who");
    const agent = await start();
    // join_token has no challenges; that it is the attestor who refuses shows that the challenge reached it.
    expect(await agent.closed).toMatchObject({ code: "ATTESTATION_FAILED" });
  });

  it("brings an entry that is created to an open stream, and ends the stream when the last one goes", async () => {
    await startReady();
    server.put(fakeEntry(web, uid, { id: "1", createdAt: 100 }));
    const stream = workloadApi().fetchX509SVID({}, HEADERS);
    await until(() => server.count("BatchNewX509SVID") > 0);
    expect((await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId)).toEqual([web]);

    server.put(fakeEntry(db, uid, { id: "0", createdAt: 200 }));
    const second = (await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId);
    // The default identity stays the default one, whatever the id of the newcomer.
    expect(second).toEqual([web, db]);

    server.remove("1");
    expect((await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId)).toEqual([db]);
    server.remove("0");
    await expect(stream.next()).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
      detail: expect.stringContaining("no identity issued") as string,
    });
  });

  it("signs anew when an entry changes, and serves the old SVID until then", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const stream = workloadApi().fetchX509SVID({}, HEADERS);
    const before = (await stream.next()).value?.svids[0];
    server.put(fakeEntry(web, uid, { id: "1", revision: 1, hint: "changed" }));
    for (;;) {
      const { value } = await stream.next();
      const svid = value?.svids[0];
      expect(svid?.spiffeId).toBe(web);
      if (Buffer.compare(svid?.x509Svid ?? Buffer.of(), before?.x509Svid ?? Buffer.of()) === 0) continue;
      expect(svid?.hint).toBe("changed");
      break;
    }
  });

  it("replaces SVIDs of an authority that is tainted", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const stream = workloadApi().fetchX509SVID({}, HEADERS);
    const before = (await stream.next()).value?.svids[0]?.x509Svid ?? new Uint8Array();
    const signed = server.count("BatchNewX509SVID");
    const { x509Authorities, jwtAuthorities } = authority.bundle(2n, true);
    server.push({
      bundle: {
        trustDomain,
        sequenceNumber: 2n,
        x509Authorities: x509Authorities.map(({ certificate, tainted }) => ({ asn1: certificate, tainted })),
        jwtAuthorities: jwtAuthorities.map(({ keyId, publicKey }) => ({ keyId, publicKey })),
      },
    });
    await until(() => server.count("BatchNewX509SVID") > signed);
    for (;;) {
      const after = (await stream.next()).value?.svids[0]?.x509Svid ?? new Uint8Array();
      if (Buffer.compare(before, after) !== 0) break;
    }
  });

  it("asks at intervals where the server has no stream", async () => {
    server.hasStream = false;
    server.pageSize = 2;
    for (let i = 0; i < 5; i++) {
      server.entries.set(`${i}`, fakeEntry(parseSpiffeId(`${web}/${i}`), uid, { id: `${i}`, createdAt: i }));
    }
    await startReady({ syncInterval: 20 });
    const stream = workloadApi().fetchX509SVID({}, HEADERS);
    expect((await stream.next()).value?.svids.length).toBe(5);
    server.entries.delete("3");
    expect((await stream.next()).value?.svids.length).toBe(4);
    const { sync } = await adminClient().service(Status).getInfo({});
    expect(sync).toBe(3);
  });

  it("fetches the foreign bundles that entries name, and gives only those", async () => {
    server.hasStream = false;
    const partner = await FakeAuthority.create(parseTrustDomain("partner.example"), systemClock);
    server.federated.set("partner.example", partner.bundle());
    server.entries.set("1", fakeEntry(web, uid, { id: "1", federatesWith: [partner.trustDomain] }));
    await startReady({ syncInterval: 20 });
    const { federatedBundles } = await first(workloadApi().fetchX509SVID({}, HEADERS));
    expect(Object.keys(federatedBundles)).toEqual(["spiffe://partner.example"]);
    const { bundles } = await first(workloadApi().fetchJWTBundles({}, HEADERS));
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org", "spiffe://partner.example"]);
    const { keys } = JSON.parse(Buffer.from(bundles["spiffe://example.org"] ?? []).toString()) as {
      keys: Record<string, unknown>[];
    };
    expect(keys).toMatchObject([{ kid: authority.keyId, kty: "EC" }]);
    expect(keys[0]).not.toHaveProperty("use");

    const foreign = partner.jwtSvid(parseSpiffeId("spiffe://partner.example/x"), ["us"], 60, "id-1").token;
    const { claims } = await workloadApi().validateJWTSVID({ audience: "us", svid: foreign }, HEADERS);
    expect(Object.keys(claims ?? {}).toSorted()).toEqual(["aud", "exp", "sub"]);
    expect(claims?.["aud"]).toEqual(["us"]);
  });

  it("renews its own SVID at half of its life and goes on with the new one", async () => {
    server.agentTtl = 3;
    await startReady();
    const before = readFileSync(join(folder, "data", "agent-identity.json"), "utf8");
    await until(() => server.count("RenewAgent") > 0);
    await until(() => readFileSync(join(folder, "data", "agent-identity.json"), "utf8") !== before);
    await until(() => server.count("WatchAuthorizedEntries") > 1);
  });

  it("attests anew when its server forgot it", async () => {
    server.reattestable = true;
    const agent = await startReady();
    server.denial = "AGENT_NOT_ATTESTED";
    await server.stop();
    await server.start();
    await until(() => server.count("AttestAgent") > 1);
    server.denial = undefined;
    const watched = server.count("WatchAuthorizedEntries");
    await until(() => server.count("WatchAuthorizedEntries") > watched);
    expect(agent.agentId).toBeDefined();
  });

  it("ends with the server's reason where it cannot attest anew", async () => {
    const agent = await startReady();
    server.denial = "AGENT_EXPIRED";
    await server.stop();
    await server.start();
    expect(await agent.closed).toMatchObject({ detail: expect.stringContaining("join token") as string });
  });

  it("forgets everything and ends when it is banned", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await startReady();
    await first(workloadApi().fetchX509SVID({}, HEADERS));
    server.denial = "AGENT_BANNED";
    await server.stop();
    await server.start();
    expect(await agent.closed).toMatchObject({ code: "AGENT_BANNED" });
    expect(readdirSync(join(folder, "data"))).toEqual([]);
  });

  it("believes no server but the one of its trust domain", async () => {
    await server.stop();
    await server.start(web);
    await start();
    // By its second attempt the first has come to nothing.
    const before = server.connections;
    await until(() => server.connections > before + 1);
    expect(server.count("AttestAgent")).toBe(0);
  });
});

describe("an agent without its server", () => {
  it("goes on serving, and says Unavailable only for what it does not have", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const api = workloadApi();
    const { svids: jwts } = await api.fetchJWTSVID({ audience: ["a", "b"] }, HEADERS);
    await first(api.fetchX509SVID({}, HEADERS));
    await server.stop();
    expect((await first(api.fetchX509SVID({}, HEADERS))).svids[0]?.spiffeId).toBe(web);
    expect((await api.fetchJWTSVID({ audience: ["a", "b"] }, HEADERS)).svids).toEqual(jwts);
    await expect(api.fetchJWTSVID({ audience: ["b", "a"] }, HEADERS)).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
  });

  it("serves after its own restart what it served before", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await startReady();
    const before = await first(workloadApi().fetchX509SVID({}, HEADERS));
    const { svids: jwts } = await workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS);
    await server.stop();
    await agent[Symbol.asyncDispose]();
    expect(statSync(join(folder, "data", "workload-cache.json")).mode & 0o777).toBe(0o600);

    await startReady();
    expect(await first(workloadApi().fetchX509SVID({}, HEADERS))).toEqual(before);
    expect((await workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS)).svids).toEqual(jwts);
    // And it needs no join token again once the server is back.
    await server.start();
    await until(() => server.watches === 1);
    expect(server.count("AttestAgent")).toBe(1);
  });

  it("tells workloads Unavailable and never that they have nothing", async () => {
    await server.stop();
    await start();
    await expect(first(workloadApi().fetchX509SVID({}, HEADERS))).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
    const health = adminClient().service(Health);
    expect((await health.check({})).status).toBe(HealthCheckResponse_ServingStatus.NOT_SERVING);
    expect((await json("GET", "/ready")).status).toBe(503);
  });

  it("leaves a damaged cache out", async () => {
    const agent = await startReady();
    await agent[Symbol.asyncDispose]();
    writeFileSync(join(folder, "data", "workload-cache.json"), '{"version":1', { mode: 0o600 });
    await startReady();
  });
});

describe("the Workload API's refusals", () => {
  it.each([
    {},
    { "workload.spiffe.io": "True" },
    { "workload.spiffe.io": "true,true" },
    { "workload.spiffe.io": "1" },
  ])("refuses the security header %j before anything else", async (headers) => {
    await startReady();
    const api = workloadApi();
    const refusal = { status: "INVALID_ARGUMENT", detail: "security header missing from request" };
    await expect(first(api.fetchX509SVID({}, { headers }))).rejects.toMatchObject(refusal);
    await expect(api.fetchJWTSVID({ audience: ["a"] }, { headers })).rejects.toMatchObject(refusal);
    await expect(first(api.fetchWITSVID({}, { headers }))).rejects.toMatchObject(refusal);
    expect(audit()).toEqual([]);
  });

  it("has the same words for no identity at all and for one that the caller does not hold", async () => {
    await startReady();
    const api = workloadApi();
    const denial = {
      status: "PERMISSION_DENIED",
      detail: expect.stringMatching(/^no identity issued \(decision [0-9a-f-]{36}\)$/) as string,
    };
    await expect(first(api.fetchX509SVID({}, HEADERS))).rejects.toMatchObject(denial);
    await expect(first(api.fetchX509Bundles({}, HEADERS))).rejects.toMatchObject(denial);
    await expect(first(api.fetchJWTBundles({}, HEADERS))).rejects.toMatchObject(denial);
    server.put(fakeEntry(web, uid, { id: "1" }));
    server.put(fakeEntry(db, uid + 1, { id: "2" }));
    await until(async () => {
      const { entriesCount } = await adminClient().service(Status).getInfo({});
      return entriesCount === 2;
    });
    for (const spiffeId of [db, "spiffe://elsewhere.example/x", "spiffe://example.org/never"]) {
      await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId }, HEADERS)).rejects.toMatchObject(denial);
    }
    expect((await api.fetchJWTSVID({ audience: ["a"], spiffeId: web }, HEADERS)).svids.length).toBe(1);
  });

  it("refuses malformed requests as such", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const api = workloadApi();
    const invalid = { status: "INVALID_ARGUMENT" };
    await expect(api.fetchJWTSVID({}, HEADERS)).rejects.toMatchObject({
      ...invalid,
      detail: "audience must be specified",
    });
    await expect(api.fetchJWTSVID({ audience: [""] }, HEADERS)).rejects.toMatchObject(invalid);
    const many = Array.from({ length: 33 }, (_, i) => `a${i}`);
    await expect(api.fetchJWTSVID({ audience: many }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.fetchJWTSVID({ audience: ["x".repeat(1025)] }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: "web" }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    await expect(api.validateJWTSVID({ svid: "a.b.c" }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.validateJWTSVID({ audience: "a" }, HEADERS)).rejects.toMatchObject(invalid);
    await expect(api.validateJWTSVID({ audience: "a", svid: "a.b.c" }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    await expect(api.fetchJWTSVID({ audience: ["x".repeat(2 ** 21)] }, HEADERS)).rejects.toMatchObject({
      status: "RESOURCE_EXHAUSTED",
    });
    await expect(first(api.fetchWITSVID({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    await expect(first(api.fetchWITBundles({}, HEADERS))).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
  });

  it("validates its own tokens, keeps the order of audiences, and lets nothing else pass", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const api = workloadApi();
    const [svid] = (await api.fetchJWTSVID({ audience: ["z", "a"] }, HEADERS)).svids;
    const { spiffeId, claims } = await api.validateJWTSVID(
      { audience: "a", svid: svid?.svid ?? "" },
      HEADERS,
    );
    expect(spiffeId).toBe(web);
    expect(claims).toMatchObject({ sub: web, aud: ["z", "a"] });
    const invalid = { status: "INVALID_ARGUMENT" };
    await expect(
      api.validateJWTSVID({ audience: "other", svid: svid?.svid ?? "" }, HEADERS),
    ).rejects.toMatchObject(invalid);
    const stranger = await FakeAuthority.create(trustDomain, systemClock);
    const forged = stranger.jwtSvid(web, ["a"], 60).token;
    await expect(api.validateJWTSVID({ audience: "a", svid: forged }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
    const foreign = stranger.jwtSvid(parseSpiffeId("spiffe://elsewhere.example/x"), ["a"], 60).token;
    await expect(api.validateJWTSVID({ audience: "a", svid: foreign }, HEADERS)).rejects.toMatchObject(
      invalid,
    );
  });

  it("gives the own bundles to strangers only where the operator said so", async () => {
    await startReady({ allowUnauthenticatedVerifiers: true });
    const { bundles } = await first(workloadApi().fetchX509Bundles({}, HEADERS));
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org"]);
    await expect(first(workloadApi().fetchX509SVID({}, HEADERS))).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
    });
  });

  it("sheds the load of one caller", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady({ rateLimit: { x509Svid: 1, jwtSvid: 1, bundles: 1, validation: 1 } });
    const api = workloadApi();
    const calls = Array.from({ length: 40 }, () => api.fetchJWTSVID({ audience: ["a"] }, HEADERS));
    const outcomes = await Promise.allSettled(calls);
    const shed = outcomes.filter(({ status }) => status === "rejected");
    expect(shed.length).toBeGreaterThanOrEqual(25);
    expect(shed[0]).toMatchObject({ reason: { status: "UNAVAILABLE" } });
  });

  it("ends open streams with Unavailable when it stops", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await startReady();
    const stream = workloadApi().fetchX509SVID({}, HEADERS);
    await stream.next();
    const [outcome] = await Promise.allSettled([stream.next(), agent[Symbol.asyncDispose]()]);
    expect(outcome).toMatchObject({ status: "rejected", reason: { status: "UNAVAILABLE" } });
    expect(await agent.closed).toBeUndefined();
    expect(existsSync(join(folder, "w.sock"))).toBe(false);
  });
});

describe("the audit log of an agent", () => {
  it("has one record for each identity handed over and each refusal, and no secret", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const api = workloadApi();
    const { svids } = await first(api.fetchX509SVID({}, HEADERS));
    const [jwt] = (await api.fetchJWTSVID({ audience: ["a"] }, HEADERS)).svids;
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS)).rejects.toThrow();
    const records = audit();
    expect(records).toMatchObject([
      {
        event: "svid.x509.delivered",
        outcome: "issued",
        entry_id: "1",
        spiffe_id: web,
        caller_pid: process.pid,
        caller_uid: uid,
        serial: new X509Certificate(svids[0]?.x509Svid ?? new Uint8Array()).serialNumber.toLowerCase(),
        method: "SpiffeWorkloadAPI/FetchX509SVID",
      },
      { event: "svid.jwt.delivered", audience: ["a"], authority_id: authority.keyId },
      { event: "svid.denied", outcome: "denied", code: "NO_IDENTITY_ISSUED", spiffe_id: db },
    ]);
    expect(records[0]?.["selectors"]).toContain(`unix:uid:${uid}`);
    const text = JSON.stringify(records);
    expect(text).not.toContain(jwt?.svid);
    expect(text).not.toContain(jwt?.svid.split(".")[2]);
  });

  it("stops every answer where it cannot be written", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await startAgent(options(), {
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics({ process: false }),
      version: "test",
      openAudit: () => {
        const log = openAuditLog({ path: join(folder, "audit.jsonl"), clock: systemClock, fsync: "never" });
        void log[Symbol.asyncDispose]();
        return log;
      },
    });
    cleanup.use(agent);
    await agent.ready;
    const api = workloadApi();
    const failure = { status: "UNAVAILABLE", detail: "the audit log cannot be written" };
    await expect(first(api.fetchX509SVID({}, HEADERS))).rejects.toMatchObject(failure);
    await expect(first(api.fetchX509Bundles({}, HEADERS))).rejects.toMatchObject(failure);
    await expect(api.fetchJWTSVID({ audience: ["a"] }, HEADERS)).rejects.toMatchObject(failure);
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS)).rejects.toMatchObject(failure);
  });

  it("explains a decision and a process", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    server.entries.set(
      "2",
      fakeEntry(db, uid, {
        id: "2",
        selectors: [
          { type: "unix", value: `uid:${uid}` },
          { type: "unix", value: "gid:4711" },
        ],
      }),
    );
    await startReady();
    await expect(workloadApi().fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS)).rejects.toThrow();
    const explain = adminClient().service(Explain);
    const decisionId = String(audit()[0]?.["decision_id"]);
    const { decision } = await explain.explainDecision({ decisionId });
    expect(decision).toMatchObject({
      id: decisionId,
      outcome: Decision_Outcome.DENIED,
      code: "NO_IDENTITY_ISSUED",
    });
    expect(decision?.nearMisses[0]?.reason).toContain("unix:gid:4711");
    expect(decision?.caller?.process?.pid).toBe(process.pid);
    await expect(explain.explainDecision({ decisionId: randomUUID() })).rejects.toMatchObject({
      status: "NOT_FOUND",
    });

    const seen = await explain.explainPid({ pid: process.pid });
    expect(seen.outcome).toBe(Decision_Outcome.ISSUED);
    expect(seen.matchedEntries.map(({ id }) => id)).toEqual(["1"]);
    expect(seen.nearMisses[0]?.missing).toMatchObject([{ type: "unix", value: "gid:4711" }]);
    await expect(explain.explainPid({ pid: 2 ** 30 })).rejects.toMatchObject({ status: "NOT_FOUND" });
    await expect(explain.explainPid({ pid: -1 })).rejects.toMatchObject({ status: "NOT_FOUND" });
    expect(audit().length).toBe(1);
  });
});

describe("the JSON face", () => {
  const header = { "workload.spiffe.io": "true" };

  it("gives what gRPC gives, in PEM and base64", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const { status, body } = await json("GET", "/v1/x509-svids", header);
    expect(status).toBe(200);
    const [svid] = (body as { svids: Record<string, string>[] }).svids;
    expect(svid?.["spiffe_id"]).toBe(web);
    const leaf = new X509Certificate(svid?.["certificate_chain_pem"] ?? "");
    expect(leaf.subjectAltName).toBe(`URI:${web}`);
    expect(Date.parse(svid?.["expires_at"] ?? "")).toBe(Date.parse(leaf.validTo));
    expect(svid).toHaveProperty(["bundle", "certificates_pem"], toPem("CERTIFICATE", authority.certificate));

    const jwts = await json("POST", "/v1/jwt-svids", header, { audience: ["a"] });
    const token = (jwts.body as { svids: { svid: string }[] }).svids[0]?.svid;
    const valid = await json("POST", "/v1/jwt-svids/validate", header, { audience: "a", svid: token });
    expect(valid.body).toMatchObject({ spiffe_id: web, claims: { aud: ["a"] } });
    const bundles = await json("GET", "/v1/jwt-bundles", header);
    expect(bundles.body).toMatchObject({
      bundles: { "spiffe://example.org": { keys: [{ kid: authority.keyId }] } },
    });
    const x509Bundles = await json("GET", "/v1/x509-bundles", header);
    expect(Object.keys((x509Bundles.body as { bundles: object }).bundles)).toEqual(["spiffe://example.org"]);
    expect((await json("GET", "/openapi.json")).body).toMatchObject({ openapi: "3.1.0" });
    expect((await json("GET", "/live")).status).toBe(200);
    expect((await json("GET", "/ready")).status).toBe(200);
  });

  it("refuses by the same rules, as problem documents", async () => {
    await startReady();
    expect(await json("GET", "/v1/x509-svids", header)).toMatchObject({
      status: 403,
      body: { code: "NO_IDENTITY_ISSUED" },
    });
    expect(await json("GET", "/v1/x509-svids/watch", header)).toMatchObject({ status: 403 });
    expect(await json("GET", "/v1/x509-svids")).toMatchObject({
      status: 400,
      body: { code: "SECURITY_HEADER_MISSING" },
    });
    expect(await json("POST", "/v1/jwt-svids", header, { audience: [] })).toMatchObject({
      status: 400,
      body: { code: "INVALID_AUDIENCE" },
    });
    expect(await json("POST", "/v1/jwt-svids", header, { audience: "a" })).toMatchObject({ status: 400 });
    expect(await json("POST", "/v1/jwt-svids", header, { audience: ["a"], extra: 1 })).toMatchObject({
      status: 400,
    });
    expect(await json("POST", "/v1/jwt-svids", header, { audience: ["x".repeat(200_000)] })).toMatchObject({
      status: 413,
    });
    expect(await json("GET", "/v1/nothing", header)).toMatchObject({ status: 404 });
  });

  it.each([
    { host: "evil.example" },
    { host: "localhost.evil.example" },
    { origin: "http://localhost" },
    { "sec-fetch-site": "cross-site" },
  ])("refuses what a web page would send: %j", async (extra) => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    expect(await json("GET", "/v1/x509-svids", { ...header, ...extra })).toMatchObject({
      status: 400,
      body: { code: "INVALID_REQUEST" },
    });
  });

  it("streams changes as server-sent events", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    const events = request({
      socketPath: join(folder, "w.sock"),
      path: "/v1/x509-svids/watch",
      headers: header,
    });
    events.end();
    const texts: string[] = [];
    events.on("response", (response) =>
      response.setEncoding("utf8").on("data", (text: string) => texts.push(text)),
    );
    await until(() => texts.join("").includes(web));
    server.put(fakeEntry(db, uid, { id: "2", createdAt: 1_800_000_000 }));
    await until(() => texts.join("").includes(db));
    expect(texts.join("")).toContain("event: x509-svids");
    events.destroy();
  });

  it("shows metrics on the admin socket alone", async () => {
    server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await startReady();
    await first(workloadApi().fetchX509SVID({}, HEADERS));
    const { text } = await json("GET", "/metrics", {}, undefined, "a.sock");
    expect(text).toContain("assay_agent_x509_svids 1");
    expect(text).toContain('assay_agent_decisions_total{event="x509_svid.issue",outcome="issued"} 1');
    expect((await json("GET", "/metrics")).status).toBe(404);
    expect(statSync(join(folder, "a.sock")).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "w.sock")).mode & 0o777).toBe(0o777);
  });
});

describe("what keeps an agent from starting", () => {
  it("refuses a data folder that another agent uses", async () => {
    await startReady();
    await expect(
      start({ socketPath: join(folder, "w2"), adminSocketPath: join(folder, "a2") }),
    ).rejects.toThrowCode("STORE_IN_USE", /data folder .*data is used by another agent/);
  });

  it("refuses a socket on which another process listens, and attests nothing", async () => {
    await startReady();
    await expect(start({ dataDir: join(folder, "other") })).rejects.toThrowCode("LISTEN_FAILED", "w.sock");
    expect(server.count("AttestAgent")).toBe(1);
  });

  it("refuses to believe a first server by nothing", async () => {
    const { trustBundle: _, ...rest } = options();
    const deps = {
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics({ process: false }),
      version: "test",
      openAudit: () => expect.unreachable(),
    };
    await expect(startAgent(rest, deps)).rejects.toThrowCode("CONFIG_INVALID", "trust_bundle");
  });

  it.each([
    ["nothing like a bundle", /holds no certificate/],
    ["", /holds no certificate/],
    ['{"keys":[]}', /no X.509 authority/],
    ['{"keys":', /trust bundle/],
  ])("refuses a trust bundle of %j", async (text, detail) => {
    const path = join(folder, "bundle");
    writeFileSync(path, text);
    await expect(start({ trustBundle: { kind: "file", path } })).rejects.toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
    expect(existsSync(join(folder, "w.sock"))).toBe(false);
  });

  it("refuses a trust bundle that is not there, and an attestor that is not known", async () => {
    await expect(start({ trustBundle: { kind: "file", path: join(folder, "absent") } })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "absent",
    );
    await expect(start({ nodeAttestor: { name: "nothing" } })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "nothing",
    );
  });

  it("takes a trust bundle as PEM", async () => {
    const path = join(folder, "bundle.pem");
    writeFileSync(path, toPem("CERTIFICATE", authority.certificate));
    await startReady({ trustBundle: { kind: "file", path } });
  });

  it("ends where its join token is refused", async () => {
    const agent = await start({ nodeAttestor: { name: "join_token", config: { token: "wrong" } } });
    await expect(agent.ready).rejects.toThrow(/join token does not exist/);
    expect(await agent.closed).toMatchObject({ detail: expect.stringContaining("join token") as string });
  });

  it("refuses a data folder of another trust domain", async () => {
    const agent = await startReady();
    await agent[Symbol.asyncDispose]();
    await expect(start({ trustDomain: parseTrustDomain("other.example") })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "example.org",
    );
  });
});

interface JsonAnswer {
  readonly status: number;
  readonly text: string;
  readonly body: unknown;
}

/** One request as `curl --unix-socket` makes it. */
function json(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: unknown,
  socket = "w.sock",
): Promise<JsonAnswer> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath: join(folder, socket),
        method,
        path,
        headers: {
          host: "localhost",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        agent: false,
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("end", () => {
          const isJson = /json/.test(response.headers["content-type"] ?? "");
          resolve({ status: response.statusCode ?? 0, text, body: isJson ? JSON.parse(text) : undefined });
        });
      },
    );
    call.on("error", reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
