import { existsSync, statSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey } from "../../test/fakes/certificates.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { TestAgent, wireId } from "../../test/fakes/server-agent.ts";
import { ServerBench } from "../../test/fakes/server-bench.ts";
import { wireEntry } from "../../test/fakes/server-wire.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { Agent } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Health } from "../proto/gen/grpc/health/v1/health_pb.ts";

let bench: ServerBench;
beforeEach(async () => {
  bench = await ServerBench.start();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("starting a server", () => {
  it("refuses a folder that another server uses, before any listener opens", async () => {
    const adminSocket = bench.path("second.sock");
    await expect(bench.launch({ adminSocket })).rejects.toThrowCode("STORE_IN_USE");
    expect(existsSync(adminSocket)).toBe(false);
    await expect(bench.agents.countAgents({})).resolves.toBeDefined();
  });

  it("refuses an admin socket that another process listens on, and leaves that one alone", async () => {
    await expect(bench.launch({ dataDir: bench.path("other") })).rejects.toThrowCode(
      "LISTEN_FAILED",
      "another process listens there",
    );
    await expect(bench.agents.countAgents({})).resolves.toBeDefined();
    // The folder is free again.
    await using _other = await bench.launch({
      dataDir: bench.path("other"),
      adminSocket: bench.path("o.sock"),
    });
  });

  it("refuses a folder of another trust domain", async () => {
    await bench.stop();
    await expect(bench.launch({ trustDomain: parseTrustDomain("other.org") })).rejects.toThrowCode(
      "CONFIG_INVALID",
    );
    await bench.start();
  });

  it("opens its admin socket to its own user only", () => {
    expect(statSync(bench.path("admin.sock")).mode & 0o777).toBe(0o600);
  });
});

describe("a server that comes back", () => {
  it("has the same authorities, entries and agents, and used tokens stay used", async () => {
    const { value } = await bench.agents.createJoinToken({ ttl: 600, token: "kept" });
    const unused = await bench.agents.createJoinToken({ ttl: 600 });
    const agent = await TestAgent.attest(bench, value);
    await bench.entries.batchCreateEntry({ entries: [wireEntry("kept", agent.id, { id: "kept" })] });
    const before = await state();
    await bench.stop();
    await bench.start();
    expect(await state()).toEqual(before);
    await expect(TestAgent.attest(bench, value)).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(TestAgent.attest(bench, unused.value)).resolves.toBeDefined();
    const again = await bench.tls({ certificates: agent.chain, privateKey: agent.privateKey });
    await expect(again.service(Agent).postStatus({})).resolves.toBeDefined();

    async function state() {
      return {
        bundle: await bench.bundles.getBundle({}),
        entry: await bench.entries.getEntry({ id: "kept" }),
        agent: await bench.agents.getAgent({
          id: wireId("spiffe://example.org/spire/agent/join_token/kept"),
        }),
      };
    }
  });
});

describe("stopping a server", () => {
  it("ends open streams with UNAVAILABLE and a word, and is down within five seconds", async () => {
    const agent = await TestAgent.attest(bench);
    const watch = agent.watch();
    await watch.whole();
    const health = bench.admin.service(Health).watch({});
    await health.next();
    const conversation = agent.entries.syncAuthorizedEntries();
    const ends = [watch.next(), health.next(), conversation[Symbol.asyncIterator]().next()].map((end) =>
      expect(end).rejects.toMatchObject({ status: "UNAVAILABLE", detail: "shutting down" }),
    );
    // Answered on the same connection, so the conversation has reached the server.
    await agent.agent.postStatus({});
    const start = performance.now();
    await Promise.all([bench.stop(), ...ends]);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(existsSync(bench.path("admin.sock"))).toBe(false);
  });

  it("does not wait for clients that say nothing", async () => {
    const silent = [
      connect(bench.path("admin.sock")),
      connect(bench.addresses.api.port, "127.0.0.1"),
      connect(bench.addresses.web.port, "127.0.0.1"),
    ];
    for (const socket of silent) {
      socket.on("error", () => undefined);
      await once(socket, "connect");
    }
    const start = performance.now();
    await bench.stop();
    expect(performance.now() - start).toBeLessThan(5000);
    for (const socket of silent) socket.destroy();
  });
});

describe("the admin socket", () => {
  it("speaks gRPC and JSON side by side", async () => {
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("both", "spiffe://example.org/spire/server", { id: "both" })],
    });
    expect(results[0]?.status?.code).toBe(0);
    const answers = await Promise.all([json("/v1/entries/both"), bench.entries.getEntry({ id: "both" })]);
    expect(answers[0]).toMatchObject({
      status: 200,
      body: { id: "both", spiffe_id: "spiffe://example.org/both" },
    });
    expect(answers[1]).toMatchObject({ id: "both" });
    expect(await json("/v1/nothing")).toMatchObject({ status: 404 });
  });
});

describe("taking an authority away", () => {
  it("shuts out agents on connections that are open, and ends their streams", async () => {
    const key = makeKey();
    const now = Math.floor(Date.now() / 1000);
    const certificate = makeCertificate({
      subject: "foreign",
      key,
      ca: true,
      uris: ["spiffe://other.org"],
      notBefore: now - 60,
      notAfter: now + 600,
    });
    await bench.bundles.batchSetFederatedBundle({
      bundle: [{ trustDomain: "other.org", x509Authorities: [{ asn1: certificate.der }] }],
    });
    const leafKey = makeKey();
    const leaf = makeCertificate({
      subject: "w",
      key: leafKey,
      issuer: { key, certificate },
      uris: ["spiffe://other.org/w"],
      notBefore: now - 60,
      notAfter: now + 600,
    });
    const client = await bench.tls({ certificates: [leaf.der], privateKey: leafKey.privateKey });
    const call = () => client.service(Agent).countAgents({});
    await expect(call()).rejects.toMatchObject({ status: "PERMISSION_DENIED" });
    await bench.bundles.batchDeleteFederatedBundle({ trustDomains: ["other.org"] });
    await expect(call()).rejects.toMatchObject({ status: "UNAUTHENTICATED" });
  });
});

describe("many agents that follow", () => {
  it("hear only what concerns them, soon", async () => {
    const agents = [];
    for (let n = 0; n < 20; n++) agents.push(await TestAgent.attest(bench));
    const watches = agents.map((agent) => agent.watch());
    for (const watch of watches) await watch.whole();
    const [first, second] = agents;
    if (first === undefined || second === undefined) throw new Error("there are no agents");
    const heard = agents.map(() => 0);
    const reading = watches.map(async (watch, n) => {
      for (;;) {
        await watch.next();
        heard[n] = (heard[n] ?? 0) + 1;
      }
    });
    for (const one of reading) one.catch(() => undefined);
    const start = performance.now();
    const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry("moves", first.id)] });
    while (heard[0] === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(performance.now() - start).toBeLessThan(1000);
    await bench.entries.batchUpdateEntry({
      entries: [{ id: results[0]?.entry?.id ?? "", parentId: second.wireId }],
      inputMask: { parentId: true },
    });
    while (heard[0] === 1 || heard[1] === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual([2, 1, ...Array.from({ length: 18 }, () => 0)]);
    const params = [{ entryId: results[0]?.entry?.id ?? "", csr: makeCsr() }];
    expect((await second.svids.batchNewX509SVID({ params })).results[0]?.status?.code).toBe(0);
    for (const watch of watches) watch.close();
  });
});

function json(path: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath: bench.path("admin.sock"), path, headers: { host: "localhost" }, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as unknown }),
        );
      },
    );
    call.on("error", reject);
    call.end();
  });
}
