import type { AuditRecord } from "../observe/audit-record.ts";
import { atMost } from "../observe/metric-labels.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { FinishedCall } from "../rpc/server-options.ts";
import { createTaskMetrics, type TaskMetrics } from "./tasks/task-metrics.ts";

/** The numbers of a server. */
export interface ServerMetrics extends Metrics, Pick<TaskMetrics, "endPublished"> {
  /** Counts one gRPC call. */
  called(call: FinishedCall<unknown>): void;
  /** Counts what was decided or changed. */
  decided(records: readonly AuditRecord[]): void;
  /** Counts a TLS handshake or client SVID that was refused. */
  refused(): void;
  /** Counts a connection that was closed at once, as its address had too many. */
  overLimit(port: LimitedPort): void;
}

/** The ports on which the connections of each address are bounded. */
export type LimitedPort = (typeof LIMITED_PORTS)[number];

/** What is read at each scrape. */
export interface ServerGauges {
  readonly entries: () => number;
  readonly agents: () => number;
  readonly followingAgents: () => number;
  readonly connections: () => number;
  readonly tasks: () => number;
  readonly authorities: () => readonly AuthorityRecord[];
  /** SVIDs that agents asked for and that are not yet signed and recorded. */
  readonly svidsUnderWay: () => number;
  /** How much could not be done upstream when it was last tried. */
  readonly upstreamFailing: () => number;
  /** Whether a key manager that is not in this process fails. */
  readonly keyManagerDegraded: () => boolean;
}

/** Makes the metrics of one server. */
export function createServerMetrics(): ServerMetrics & { observe(gauges: ServerGauges): void } {
  const metrics = createMetrics();
  const calls = metrics.counter({
    name: "rpc_calls_total",
    help: "gRPC calls that were answered, by method and error code",
    labels: { method: atMost(100), code: atMost(60) },
  });
  const seconds = metrics.histogram({
    name: "rpc_seconds",
    help: "How long gRPC calls took",
    labels: { method: atMost(100) },
  });
  const decisions = metrics.counter({
    name: "decisions_total",
    help: "Decisions and changes, by event and outcome as in the audit log",
    labels: { event: atMost(60), outcome: atMost(8) },
  });
  const refusals = metrics.counter({
    name: "tls_refused_total",
    help: "TLS connections that were refused at the handshake or for their client SVID",
  });
  const overLimit = metrics.counter({
    name: "connections_over_limit_total",
    help: "Connections that were closed at once as their address had too many without an SVID, by port",
    labels: { port: LIMITED_PORTS },
  });
  const tasks = createTaskMetrics(metrics);
  return {
    ...metrics,
    endPublished: (elapsed) => tasks.endPublished(elapsed),
    called({ method, error, duration }) {
      calls.add({ method, code: error?.code ?? "OK" });
      seconds.observe({ method }, duration / 1000);
    },
    decided(records) {
      for (const record of records) {
        decisions.add({ event: record.event, outcome: record.outcome });
        tasks.decided(record);
      }
    },
    refused: () => refusals.add({}),
    overLimit: (port) => overLimit.add({ port }),
    observe(gauges) {
      const gauge = (name: string, help: string, read: () => number) =>
        metrics.observedGauge({ name, help }, read);
      gauge("entries", "Registration entries", gauges.entries);
      gauge("agents", "Attested agents", gauges.agents);
      gauge("agents_following", "Agents with an open stream of changes", gauges.followingAgents);
      gauge("rpc_connections", "Open gRPC connections", gauges.connections);
      gauge("svids_under_way", "SVIDs asked for by agents and not yet recorded", gauges.svidsUnderWay);
      gauge(
        "upstream_failing",
        "Tasks that the upstream authority did not do when last asked: minting, publishing, telling of roots",
        gauges.upstreamFailing,
      );
      gauge("key_manager_degraded", "1 while a key manager elsewhere fails, else 0", () =>
        gauges.keyManagerDegraded() ? 1 : 0,
      );
      gauge("tasks_live", "Tasks that are active or ending", gauges.tasks);
      for (const kind of ["x509", "jwt"] as const) {
        gauge(
          `${kind}_authority_expiry_timestamp_seconds`,
          `End of the active ${kind === "x509" ? "X.509" : "JWT"} authority, 0 without one`,
          () =>
            gauges.authorities().find((one) => one.kind === kind && one.state === "active")?.notAfter ?? 0,
        );
      }
    },
  };
}

const LIMITED_PORTS = ["api", "web"] as const;
