import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAgent, wireId } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireBundle, wireEntry } from "../../../test/fakes/server-wire.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import { Decision_Outcome } from "../../proto/gen/assay/api/types/v1/decision_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../proto/gen/grpc/health/v1/health_pb.ts";
import { Debug } from "../../proto/gen/spire/api/server/debug/v1/debug_pb.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { Logger } from "../../proto/gen/spire/api/server/logger/v1/logger_pb.ts";
import { LogLevel } from "../../proto/gen/spire/api/types/logger_pb.ts";

let bench: ServerBench;
let agent: TestAgent;
beforeAll(async () => {
  bench = await ServerBench.start();
  agent = await TestAgent.attest(bench);
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("Debug", () => {
  it("shows the server's own SVID with its subject, and how much there is", async () => {
    await bench.entries.batchCreateEntry({ entries: [wireEntry("debug", agent.id)] });
    await bench.bundles.batchSetFederatedBundle({ bundle: [wireBundle("debug.org")] });
    const info = await bench.admin.service(Debug).getInfo({});
    expect(info.svidChain).toMatchObject([
      { id: { trustDomain: "example.org", path: "/spire/server" }, subject: "C=US, O=SPIRE, CN=localhost" },
    ]);
    expect(Number(info.svidChain[0]?.expiresAt)).toBeGreaterThan(Date.now() / 1000);
    expect(info).toMatchObject({ agentsCount: 1, entriesCount: 1, federatedBundlesCount: 1 });
    expect(info.uptime).toBeLessThan(60);
  });
});

describe("Logger", () => {
  it("sets and resets the level", async () => {
    const logger = bench.admin.service(Logger);
    expect(await logger.getLogger({})).toMatchObject({
      currentLevel: LogLevel.TRACE,
      launchLevel: LogLevel.TRACE,
    });
    for (const level of [LogLevel.ERROR, LogLevel.WARN, LogLevel.INFO, LogLevel.DEBUG, LogLevel.FATAL]) {
      expect(await logger.setLogLevel({ newLevel: level })).toMatchObject({ currentLevel: level });
    }
    const silent = bench.lines.length;
    await bench.agents.countAgents({});
    expect(bench.lines.length).toBe(silent);
    expect(await logger.setLogLevel({ newLevel: LogLevel.PANIC })).toMatchObject({
      currentLevel: LogLevel.FATAL,
    });
    expect(await logger.resetLogLevel({})).toMatchObject({ currentLevel: LogLevel.TRACE });
  });

  it.each([LogLevel.UNSPECIFIED, 99 as LogLevel])("refuses level %i", async (newLevel) => {
    await expect(bench.admin.service(Logger).setLogLevel({ newLevel })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
  });
});

describe("LocalAuthority", () => {
  it("shows the active authorities, which are those in the bundle", async () => {
    const service = bench.admin.service(LocalAuthority);
    const bundle = await bench.bundles.getBundle({});
    const jwt = await service.getJWTAuthorityState({});
    expect(jwt.active?.authorityId).toBe(bundle.jwtAuthorities[0]?.keyId);
    expect(jwt.prepared).toBeUndefined();
    const x509 = await service.getX509AuthorityState({});
    expect(x509.active?.authorityId).toMatch(/^[0-9a-f]{40}$/);
    expect(Number(x509.active?.expiresAt)).toBeGreaterThan(Date.now() / 1000 + 86_000);
  });
});

describe("Health", () => {
  it("says that the server serves, to who asks and to who watches", async () => {
    const health = bench.admin.service(Health);
    expect(await health.check({})).toMatchObject({ status: Serving.SERVING });
    await expect(health.check({ service: "none" })).rejects.toMatchObject({ status: "NOT_FOUND" });
    for await (const message of health.watch({})) {
      expect(message).toMatchObject({ status: Serving.SERVING });
      break;
    }
  });
});

describe("Explain", () => {
  it("tells a decision by its id", async () => {
    const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry("explained", agent.id)] });
    const entryId = results[0]?.entry?.id ?? "";
    await agent.svids.batchNewX509SVID({ params: [{ entryId, csr: makeCsr() }] });
    const record = bench
      .audit()
      .findLast(({ entry_id: id, event }) => id === entryId && event === "svid.x509.issued");
    const explain = bench.admin.service(Explain);
    const { decision } = await explain.explainDecision({ decisionId: String(record?.["decision_id"]) });
    expect(decision).toMatchObject({
      event: "svid.x509.issued",
      outcome: Decision_Outcome.ISSUED,
      code: "",
      entryId,
      spiffeId: wireId("spiffe://example.org/explained"),
      selectors: [{ type: "unix", value: "user:explained" }],
      caller: { kind: "svid", address: "127.0.0.1", spiffeId: agent.wireId },
      serialNumber: record?.["serial"],
      authorityId: record?.["authority_id"],
    });
    expect(Number(decision?.time)).toBe(Date.parse(String(record?.["time"])));
  });

  it("tells a refusal with its reasons", async () => {
    await agent.svids.batchNewX509SVID({ params: [{ entryId: "none", csr: makeCsr() }] });
    const record = bench.audit().findLast(({ entry_id: id }) => id === "none");
    const { decision } = await bench.admin
      .service(Explain)
      .explainDecision({ decisionId: String(record?.["decision_id"]) });
    expect(decision).toMatchObject({
      outcome: Decision_Outcome.DENIED,
      code: "ENTRY_NOT_FOUND",
      detail: "entry not found or not authorized",
      serialNumber: "",
    });
  });

  it.each(["", "none", "../../etc/passwd", "x".repeat(10_000)])(
    "knows no decision %j",
    async (decisionId) => {
      await expect(bench.admin.service(Explain).explainDecision({ decisionId })).rejects.toMatchObject({
        status: "NOT_FOUND",
      });
    },
  );

  it("tells a node's state, what it may hand out and which alias came near", async () => {
    const explain = bench.admin.service(Explain);
    await bench.entries.batchCreateEntry({
      entries: [
        wireEntry("near-alias", "spiffe://example.org/spire/server", {
          selectors: [
            { type: "spiffe_id", value: agent.id },
            { type: "x509pop", value: "subject:cn:other" },
          ],
        }),
      ],
    });
    const node = await explain.explainNode({ agentId: agent.wireId });
    expect(node).toMatchObject({ status: "active", agent: { id: agent.wireId } });
    expect(node.authorizedEntries.map(({ spiffeId }) => spiffeId?.path)).toContain("/explained");
    expect(node.nearMisses).toMatchObject([
      {
        entry: { spiffeId: { path: "/near-alias" } },
        missing: [{ type: "x509pop", value: "subject:cn:other" }],
        reason: "the node lacks x509pop:subject:cn:other",
      },
    ]);
    expect(
      await explain.explainNode({ agentId: wireId("spiffe://example.org/spire/agent/x/none") }),
    ).toMatchObject({
      status: "unknown",
    });
    const banned = await TestAgent.attest(bench);
    await bench.agents.banAgent({ id: banned.wireId });
    expect(await explain.explainNode({ agentId: banned.wireId })).toMatchObject({
      status: "banned",
      authorizedEntries: [],
    });
  });
});
