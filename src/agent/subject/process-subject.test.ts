import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, first, uid, until } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { BrokerClient, pidReference } from "../../../test/fakes/broker-client.ts";
import { DelegatedIdentity } from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";

const asker = parseSpiffeId("spiffe://example.org/asker");
const web = parseSpiffeId("spiffe://example.org/web");
const OTHER_UID = uid === 0 ? 54_321 : uid;
const NOBODY = 2 ** 31 - 1;

let harness: AgentHarness;
let child: ChildProcess;
beforeEach(async () => {
  harness = await AgentHarness.create();
  child = spawn("sleep", ["60"], uid === 0 ? { uid: OTHER_UID } : {});
  await once(child, "spawn");
});
afterEach(async () => {
  child.kill("SIGKILL");
  await harness[Symbol.asyncDispose]();
});

/** How many processes this one holds. */
function held(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("pidfd");
    } catch {
      return false;
    }
  }).length;
}

describe("a process that somebody asks about", () => {
  it("is held while a call about it lasts and no longer, however the call ends", async () => {
    harness.server.put(fakeEntry(asker, uid, { id: "asker", createdAt: 1 }));
    harness.server.put(fakeEntry(web, OTHER_UID, { id: "web", createdAt: 2 }));
    await harness.startReady({
      features: ["broker"],
      authorizedDelegates: [asker],
      broker: {
        addresses: [{ scheme: "unix", path: harness.path("b.sock") }],
        socketMode: 0o600,
        brokers: [{ id: asker, references: [{ type: "workload_pid", allowOverTcp: false }] }],
      },
    });
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const spki = publicKey.export({ format: "der", type: "spki" });
    const chain = [harness.authority.issueFor(spki, asker, 3600)];
    using broker = await BrokerClient.connect({ path: harness.path("b.sock") }, { chain, key: privateKey });
    const delegate = harness.client("a.sock").service(DelegatedIdentity);
    const pid = child.pid ?? 0;
    const reference = pidReference(pid);
    await first(delegate.subscribeToX509SVIDs({ pid }));
    // The connection of the delegate holds one.
    await until(() => held() === 1);
    for (let i = 0; i < 20; i++) {
      await broker.first("subscribeToX509SVID", { reference });
      await broker.first("subscribeToX509Bundles", { reference });
      broker.open("subscribeToJWTBundles", { reference }).leave();
      await broker.first("fetchJWTSVID", { reference, audience: ["a"] });
      for (const refused of [
        { reference, audience: [] },
        { reference, audience: ["a"], spiffeId: "x" },
        { reference, audience: ["a"], spiffeId: "spiffe://example.org/none" },
        { reference: pidReference(NOBODY), audience: ["a"] },
      ]) {
        expect((await broker.open("fetchJWTSVID", refused).status).code).not.toBe(0);
      }
      await first(delegate.subscribeToX509SVIDs({ pid }));
      await delegate.fetchJWTSVIDs({ audience: ["a"], pid });
      await expect(delegate.fetchJWTSVIDs({ audience: [""], pid })).rejects.toThrow();
    }
    await until(() => held() === 1);

    const calls = Array.from({ length: 20 }, () => broker.open("subscribeToX509SVID", { reference }));
    await Promise.all(calls.map((call) => call.next()));
    expect(held()).toBe(21);
    broker[Symbol.dispose]();
    await until(() => held() === 1);
  });
});
