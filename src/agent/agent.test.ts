import { X509Certificate } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../test/fakes/agent-authority.ts";
import { AgentHarness, HEADERS, first, trustDomain, uid, until } from "../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../test/fakes/agent-server.ts";
import { systemClock } from "../clock.ts";
import { Status } from "../proto/gen/assay/api/agent/v1/status_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../proto/gen/grpc/health/v1/health_pb.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("an agent with its server", () => {
  it("attests, and serves the caller its X509-SVID with key and bundle", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1", hint: "internal" }));
    harness.server.entries.set("2", fakeEntry(db, uid + 1, { id: "2" }));
    const agent = await harness.startReady();
    expect(agent.agentId).toBe("spiffe://example.org/spire/agent/join_token/t");

    const { svids } = await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([[web, "internal"]]);
    const leaf = new X509Certificate(svids[0]?.x509Svid ?? new Uint8Array());
    expect(leaf.subjectAltName).toBe(`URI:${web}`);
    expect(Buffer.from(svids[0]?.bundle ?? [])).toEqual(Buffer.from(harness.authority.certificate));
    expect(harness.server.versions).toEqual(["test"]);
  });

  it("gives its server's challenge to the attestor, and ends where that has no answer", async () => {
    harness.server.challenge = Buffer.from("who");
    const agent = await harness.start();
    // join_token has no challenges; that it is the attestor who refuses shows that the challenge reached it.
    expect(await agent.closed).toMatchObject({ code: "ATTESTATION_FAILED" });
  });

  it("brings an entry that is created to an open stream, and ends the stream when the last one goes", async () => {
    await harness.startReady();
    harness.server.put(fakeEntry(web, uid, { id: "1", createdAt: 100 }));
    const stream = harness.workloadApi().fetchX509SVID({}, HEADERS);
    await until(() => harness.server.count("BatchNewX509SVID") > 0);
    expect((await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId)).toEqual([web]);

    harness.server.put(fakeEntry(db, uid, { id: "0", createdAt: 200 }));
    const second = (await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId);
    // The default identity stays the default one, whatever the id of the newcomer.
    expect(second).toEqual([web, db]);

    harness.server.remove("1");
    expect((await stream.next()).value?.svids.map(({ spiffeId }) => spiffeId)).toEqual([db]);
    harness.server.remove("0");
    await expect(stream.next()).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
      detail: expect.stringContaining("no identity issued") as string,
    });
  });

  it("signs anew when an entry changes, and serves the old SVID until then", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const stream = harness.workloadApi().fetchX509SVID({}, HEADERS);
    const before = (await stream.next()).value?.svids[0];
    harness.server.put(fakeEntry(web, uid, { id: "1", revision: 1, hint: "changed" }));
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
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    // With this spread the first of them are replaced at once.
    await harness.startReady({}, { spread: () => 0 });
    const stream = harness.workloadApi().fetchX509SVID({}, HEADERS);
    const before = (await stream.next()).value?.svids[0]?.x509Svid ?? new Uint8Array();
    const signed = harness.server.count("BatchNewX509SVID");
    const { x509Authorities, jwtAuthorities } = harness.authority.bundle(2n, true);
    harness.server.push({
      bundle: {
        trustDomain,
        sequenceNumber: 2n,
        x509Authorities: x509Authorities.map(({ certificate, tainted }) => ({ asn1: certificate, tainted })),
        jwtAuthorities: jwtAuthorities.map(({ keyId, publicKey }) => ({ keyId, publicKey })),
      },
    });
    await until(() => harness.server.count("BatchNewX509SVID") > signed);
    for (;;) {
      const after = (await stream.next()).value?.svids[0]?.x509Svid ?? new Uint8Array();
      if (Buffer.compare(before, after) !== 0) break;
    }
  });

  it("asks at intervals where the server has no stream", async () => {
    harness.server.hasStream = false;
    harness.server.pageSize = 2;
    for (let i = 0; i < 5; i++) {
      harness.server.entries.set(
        `${i}`,
        fakeEntry(parseSpiffeId(`${web}/${i}`), uid, { id: `${i}`, createdAt: i }),
      );
    }
    await harness.startReady({ syncInterval: 20 });
    const stream = harness.workloadApi().fetchX509SVID({}, HEADERS);
    expect((await stream.next()).value?.svids.length).toBe(5);
    harness.server.entries.delete("3");
    expect((await stream.next()).value?.svids.length).toBe(4);
    const { sync } = await harness.client("a.sock").service(Status).getInfo({});
    expect(sync).toBe(3);
  });

  it("fetches the foreign bundles that entries name, and gives only those", async () => {
    harness.server.hasStream = false;
    const partner = await FakeAuthority.create(parseTrustDomain("partner.example"), systemClock);
    harness.server.federated.set("partner.example", partner.bundle());
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1", federatesWith: [partner.trustDomain] }));
    await harness.startReady({ syncInterval: 20 });
    const { federatedBundles } = await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    expect(Object.keys(federatedBundles)).toEqual(["spiffe://partner.example"]);
    const { bundles } = await first(harness.workloadApi().fetchJWTBundles({}, HEADERS));
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org", "spiffe://partner.example"]);
    const { keys } = JSON.parse(Buffer.from(bundles["spiffe://example.org"] ?? []).toString()) as {
      keys: Record<string, unknown>[];
    };
    expect(keys).toMatchObject([{ kid: harness.authority.keyId, kty: "EC" }]);
    expect(keys[0]).not.toHaveProperty("use");

    const foreign = partner.jwtSvid(parseSpiffeId("spiffe://partner.example/x"), ["us"], 60, "id-1").token;
    const { claims } = await harness
      .workloadApi()
      .validateJWTSVID({ audience: "us", svid: foreign }, HEADERS);
    expect(Object.keys(claims ?? {}).toSorted()).toEqual(["aud", "exp", "sub"]);
    expect(claims?.["aud"]).toEqual(["us"]);
  });

  it("gives the revocation lists of the own and of federated trust domains, of no others, over a restart too", async () => {
    const partner = await FakeAuthority.create(parseTrustDomain("partner.example"), systemClock);
    const lists = ["example.org", "partner.example", "other.example"].map((trustDomain, n) => ({
      trustDomain,
      crl: Uint8Array.of(0x30, n),
    }));
    harness.server.crls.push(...lists);
    harness.server.federated.set("partner.example", partner.bundle());
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1", federatesWith: [partner.trustDomain] }));
    harness.server.entries.set("2", fakeEntry(web, uid + 1, { id: "2" }));
    const agent = await harness.startReady();
    const expected = lists.slice(0, 2).map(({ crl }) => Buffer.from(crl));
    expect((await first(harness.workloadApi().fetchX509SVID({}, HEADERS))).crl).toEqual(expected);
    expect((await first(harness.workloadApi().fetchX509Bundles({}, HEADERS))).crl).toEqual(expected);
    await agent[Symbol.asyncDispose]();
    await harness.server.stop();
    await harness.startReady();
    expect((await first(harness.workloadApi().fetchX509SVID({}, HEADERS))).crl).toEqual(expected);
  });

  it("knows the key of a JWT-SVID before it hands it over", async () => {
    const { jwtAuthorities, ...rest } = harness.server.bundle;
    harness.server.bundle = { ...rest, jwtAuthorities: [] };
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    harness.server.bundle = { ...rest, jwtAuthorities };
    const [svid] = (await harness.workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS)).svids;
    const request = { audience: "a", svid: svid?.svid ?? "" };
    expect((await harness.workloadApi().validateJWTSVID(request, HEADERS)).spiffeId).toBe(web);
  });

  it("believes servers by a bundle that it has learned with a JWT-SVID", async () => {
    const next = await FakeAuthority.create(trustDomain, systemClock);
    const { jwtAuthorities, x509Authorities, ...rest } = harness.server.bundle;
    harness.server.bundle = { ...rest, x509Authorities, jwtAuthorities: [] };
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const both = [...x509Authorities, ...next.bundle().x509Authorities];
    harness.server.bundle = { ...rest, jwtAuthorities, x509Authorities: both };
    await harness.workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS);
    const identity = () => readFileSync(join(harness.path("data"), "agent-identity.json"), "utf8");
    await until(() => identity().includes(Buffer.from(next.certificate).toString("base64")));
  });

  it("renews its own SVID at half of its life and goes on with the new one", async () => {
    harness.server.agentTtl = 3;
    await harness.startReady();
    const before = readFileSync(join(harness.path("data"), "agent-identity.json"), "utf8");
    await until(() => harness.server.count("RenewAgent") > 0);
    await until(() => readFileSync(join(harness.path("data"), "agent-identity.json"), "utf8") !== before);
    await until(() => harness.server.count("WatchAuthorizedEntries") > 1);
  });

  it("attests anew when its server forgot it", async () => {
    harness.server.reattestable = true;
    const agent = await harness.startReady();
    harness.server.denial = "AGENT_NOT_ATTESTED";
    await harness.server.stop();
    await harness.server.start();
    await until(() => harness.server.count("AttestAgent") > 1);
    harness.server.denial = undefined;
    const watched = harness.server.count("WatchAuthorizedEntries");
    await until(() => harness.server.count("WatchAuthorizedEntries") > watched);
    expect(agent.agentId).toBeDefined();
  });

  it("ends with the server's reason where it cannot attest anew", async () => {
    const agent = await harness.startReady();
    harness.server.denial = "AGENT_EXPIRED";
    await harness.server.stop();
    await harness.server.start();
    expect(await agent.closed).toMatchObject({ detail: expect.stringContaining("join token") as string });
  });

  it("forgets everything and ends when it is banned", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await harness.startReady();
    await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    harness.server.denial = "AGENT_BANNED";
    await harness.server.stop();
    await harness.server.start();
    expect(await agent.closed).toMatchObject({ code: "AGENT_BANNED" });
    expect(readdirSync(harness.path("data"))).toEqual([]);
  });

  it("believes no server but the one of its trust domain", async () => {
    await harness.server.stop();
    await harness.server.start(web);
    await harness.start();
    // By its second attempt the first has come to nothing.
    const before = harness.server.connections;
    await until(() => harness.server.connections > before + 1);
    expect(harness.server.count("AttestAgent")).toBe(0);
  });
});

describe("an agent without its server", () => {
  it("goes on serving, and says Unavailable only for what it does not have", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const api = harness.workloadApi();
    const { svids: jwts } = await api.fetchJWTSVID({ audience: ["a", "b"] }, HEADERS);
    await first(api.fetchX509SVID({}, HEADERS));
    await harness.server.stop();
    expect((await first(api.fetchX509SVID({}, HEADERS))).svids[0]?.spiffeId).toBe(web);
    expect((await api.fetchJWTSVID({ audience: ["a", "b"] }, HEADERS)).svids).toEqual(jwts);
    await expect(api.fetchJWTSVID({ audience: ["b", "a"] }, HEADERS)).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
  });

  it("serves after its own restart what it served before", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    const agent = await harness.startReady();
    const before = await first(harness.workloadApi().fetchX509SVID({}, HEADERS));
    const { svids: jwts } = await harness.workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS);
    await harness.server.stop();
    await agent[Symbol.asyncDispose]();
    expect(statSync(join(harness.path("data"), "workload-cache.json")).mode & 0o777).toBe(0o600);

    await harness.startReady();
    expect(await first(harness.workloadApi().fetchX509SVID({}, HEADERS))).toEqual(before);
    expect((await harness.workloadApi().fetchJWTSVID({ audience: ["a"] }, HEADERS)).svids).toEqual(jwts);
    // And it needs no join token again once the server is back.
    await harness.server.start();
    await until(() => harness.server.watches === 1);
    expect(harness.server.count("AttestAgent")).toBe(1);
  });

  it("tells workloads Unavailable and never that they have nothing", async () => {
    await harness.server.stop();
    await harness.start();
    await expect(first(harness.workloadApi().fetchX509SVID({}, HEADERS))).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
    const health = harness.client("a.sock").service(Health);
    expect((await health.check({})).status).toBe(HealthCheckResponse_ServingStatus.NOT_SERVING);
    expect((await harness.json("GET", "/ready")).status).toBe(503);
  });

  it("leaves a damaged cache out", async () => {
    const agent = await harness.startReady();
    await agent[Symbol.asyncDispose]();
    writeFileSync(join(harness.path("data"), "workload-cache.json"), '{"version":1', { mode: 0o600 });
    await harness.startReady();
  });
});
