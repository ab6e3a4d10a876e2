import { WORKLOAD_EVENTS, type WorkloadEvent } from "../issuance/workload/verdict.ts";
import { atMost } from "../observe/metric-labels.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { FinishedCall } from "../rpc/server-options.ts";
import type { AgentCache } from "./cache/agent-cache.ts";
import type { Syncer } from "./sync/syncer.ts";

/** Where the agent counts. */
export interface AgentMetrics {
  decided(event: WorkloadEvent, outcome: "issued" | "denied" | "failed"): void;
  called(call: FinishedCall<unknown>): void;
  serverFailed(code: string): void;
}

/** Declares the agent's numbers. Once for each `Metrics`. */
export function agentMetrics(metrics: Metrics, cache: AgentCache, syncer: Syncer): AgentMetrics {
  const decisions = metrics.counter({
    name: "agent_decisions_total",
    help: "Decisions of the Workload API",
    labels: {
      event: WORKLOAD_EVENTS,
      outcome: ["issued", "denied", "failed"],
    },
  });
  const calls = metrics.histogram({
    name: "agent_workload_call_seconds",
    help: "Calls of the Workload API over gRPC until their end; streams are long",
    labels: { method: atMost(32), code: atMost(64) },
  });
  const failures = metrics.counter({
    name: "agent_server_failures_total",
    help: "Failed calls to the server, by error code",
    labels: { code: atMost(64) },
  });
  const gauge = (name: string, help: string, read: () => number) =>
    metrics.observedGauge({ name: `agent_${name}`, help }, read);
  gauge("x509_svids", "X509-SVIDs at hand", () => cache.x509.size);
  gauge(
    "x509_svids_first_expiry_timestamp_seconds",
    "When the first X509-SVID ends that a workload has: were no server there from now on, that is when trouble begins; 0 for none",
    () => (cache.x509.size === 0 ? 0 : cache.x509.firstEnd / 1000),
  );
  gauge("jwt_svids", "JWT-SVIDs at hand", () => cache.jwt.size);
  gauge("wit_svids", "WIT-SVIDs at hand", () => cache.wit.size);
  gauge("entries", "Registration entries of this agent", () => cache.table.entries.size);
  gauge("sync_connected", "1 while the server is followed", () => (syncer.state === "disconnected" ? 0 : 1));
  gauge("sync_streaming", "1 while the server tells changes as they happen", () =>
    syncer.state === "stream" ? 1 : 0,
  );
  gauge("last_sync_timestamp_seconds", "When the server was last heard of", () => syncer.lastSyncAt / 1000);
  return {
    decided: (event, outcome) => decisions.add({ event, outcome }),
    called: ({ method, error, duration }) =>
      calls.observe({ method, code: error?.code ?? "OK" }, duration / 1000),
    serverFailed: (code) => failures.add({ code }),
  };
}
