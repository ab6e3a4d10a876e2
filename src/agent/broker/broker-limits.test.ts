import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, uid } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import {
  BROKER_CALLS,
  BrokerClient,
  objectReference,
  pidReference,
} from "../../../test/fakes/broker-client.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");

let harness: AgentHarness;
let client: BrokerClient;
beforeEach(async () => {
  harness = await AgentHarness.create();
  harness.server.put(fakeEntry(parseSpiffeId("spiffe://example.org/web"), uid, { id: "web", createdAt: 2 }));
});
afterEach(async () => {
  client[Symbol.dispose]();
  await harness[Symbol.asyncDispose]();
});

async function start(perSecond: number): Promise<void> {
  const path = harness.path("b.sock");
  await harness.startReady({
    features: ["broker"],
    broker: {
      addresses: [{ scheme: "unix", path }],
      socketMode: 0o660,
      brokers: [{ id: broker, references: [{ type: "workload_pid", allowOverTcp: false }] }],
    },
    rateLimit: { x509Svid: perSecond, jwtSvid: perSecond, bundles: perSecond, validation: perSecond },
  });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ format: "der", type: "spki" });
  client = await BrokerClient.connect(
    { path },
    { chain: [harness.authority.issueFor(spki, broker, 3600)], key: privateKey },
  );
}

describe("a broker", () => {
  it.each(BROKER_CALLS)("that asks too often by %s costs no lookup and no record", async (rpc) => {
    await start(0.1);
    const before = harness.audit().length;
    const request = { reference: pidReference(2 ** 31 - 1), audience: ["a"] };
    const codes: number[] = [];
    for (let i = 0; i < 5; i++) codes.push((await client.open(rpc, request).status).code);
    expect(codes).toEqual([5, 14, 14, 14, 14]);
    expect(harness.audit().slice(before)).toMatchObject([
      { event: "svid.denied", code: "WORKLOAD_NOT_FOUND" },
    ]);
    // Nor does one that may not name workloads so.
    const object = objectReference({ type: { plural: "pods", group: "core" }, uid: "u" });
    expect((await client.open(rpc, { reference: object, audience: ["a"] }).status).code).toBe(14);
    expect(harness.audit().length).toBe(before + 1);
  });

  it("is counted once for each call", async () => {
    await start(0.2);
    const request = { reference: pidReference(process.pid), audience: ["a"] };
    await client.first("fetchJWTSVID", request);
    await client.first("fetchJWTSVID", request);
    expect((await client.open("fetchJWTSVID", request).status).code).toBe(14);
  });
});
