import { X509Certificate, randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, HEADERS, first, uid } from "../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../test/fakes/agent-server.ts";
import { systemClock } from "../clock.ts";
import { openAuditLog } from "../observe/audit-log.ts";
import { Explain } from "../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Decision_Outcome } from "../proto/gen/assay/api/types/v1/decision_pb.ts";
import { parseSpiffeId } from "../spiffe/id.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("the audit log of an agent", () => {
  it("has one record for each identity handed over and each refusal, and no secret", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady();
    const api = harness.workloadApi();
    const { svids } = await first(api.fetchX509SVID({}, HEADERS));
    const [jwt] = (await api.fetchJWTSVID({ audience: ["a"] }, HEADERS)).svids;
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS)).rejects.toThrow();
    const records = harness.audit();
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
      { event: "svid.jwt.delivered", audience: ["a"], authority_id: harness.authority.keyId },
      { event: "svid.denied", outcome: "denied", code: "NO_IDENTITY_ISSUED", spiffe_id: db },
    ]);
    expect(records[0]?.["selectors"]).toContain(`unix:uid:${uid}`);
    const text = JSON.stringify(records);
    expect(text).not.toContain(jwt?.svid);
    expect(text).not.toContain(jwt?.svid.split(".")[2]);
  });

  it("stops every answer where it cannot be written", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    await harness.startReady(
      {},
      {
        openAudit: () => {
          const log = openAuditLog({ path: harness.path("audit.jsonl"), clock: systemClock, fsync: "never" });
          void log[Symbol.asyncDispose]();
          return log;
        },
      },
    );
    const api = harness.workloadApi();
    const failure = { status: "UNAVAILABLE", detail: "the audit log cannot be written" };
    await expect(first(api.fetchX509SVID({}, HEADERS))).rejects.toMatchObject(failure);
    await expect(first(api.fetchX509Bundles({}, HEADERS))).rejects.toMatchObject(failure);
    await expect(api.fetchJWTSVID({ audience: ["a"] }, HEADERS)).rejects.toMatchObject(failure);
    await expect(api.fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS)).rejects.toMatchObject(failure);
  });

  it("explains a decision and a process", async () => {
    harness.server.entries.set("1", fakeEntry(web, uid, { id: "1" }));
    harness.server.entries.set(
      "2",
      fakeEntry(db, uid, {
        id: "2",
        selectors: [
          { type: "unix", value: `uid:${uid}` },
          { type: "unix", value: "gid:4711" },
        ],
      }),
    );
    await harness.startReady();
    await expect(
      harness.workloadApi().fetchJWTSVID({ audience: ["a"], spiffeId: db }, HEADERS),
    ).rejects.toThrow();
    const explain = harness.client("a.sock").service(Explain);
    const decisionId = String(harness.audit()[0]?.["decision_id"]);
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
    expect(harness.audit().length).toBe(1);
  });
});
