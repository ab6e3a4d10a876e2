import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { atMost } from "../../observe/metric-labels.ts";
import type { Metrics } from "../../observe/metrics.ts";

/** The numbers of tasks. */
export interface TaskMetrics {
  /** Counts what was decided. */
  decided(record: AuditRecord): void;
  /** Notes how many seconds after the end of a task its revocations were published. */
  endPublished(seconds: number): void;
}

/** Adds the numbers of tasks to a server's. */
export function createTaskMetrics(metrics: Metrics): TaskMetrics {
  const tasks = metrics.counter({
    name: "tasks_total",
    help: "Tasks that were opened, resumed, refused or alarmed about, by attestor",
    labels: { event: ["opened", "resumed", "denied", "alarm"], attestor: atMost(65) },
  });
  const ends = metrics.counter({
    name: "tasks_ended_total",
    help: "Tasks that ended, by attestor and by who or what ended them",
    labels: { attestor: atMost(65), reason: atMost(8) },
  });
  const published = metrics.histogram({
    name: "task_end_published_seconds",
    help: "How long it took from the end of a task until its revocations were published",
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  });
  return {
    decided({ event, attestor = "none", reason = "none" }) {
      const counted = COUNTED[event];
      if (counted !== undefined) tasks.add({ event: counted, attestor });
      if (event === "task.ended") ends.add({ attestor, reason });
    },
    endPublished: (seconds) => published.observe({}, seconds),
  };
}

const COUNTED: Partial<Record<AuditEvent, "opened" | "resumed" | "denied" | "alarm">> = {
  "task.opened": "opened",
  "task.resumed": "resumed",
  "task.denied": "denied",
  "task.alarm": "alarm",
};
