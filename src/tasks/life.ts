import type { Clock } from "../clock.ts";
import type { TaskRecord } from "../store/task-store.ts";

/** Whether a task is active and neither its lease nor its cap has run out by now. */
export function isAlive(task: TaskRecord, clock: Clock): boolean {
  return task.state === "active" && clock.now() < endOf(task);
}

/** When a task ends unless a heartbeat comes, milliseconds since the epoch. */
export function endOf({ leaseExpiresAt, hardEnd }: TaskRecord): number {
  return Math.min(leaseExpiresAt, hardEnd) * 1000;
}

/** The unique key of a run: its attestor's instance name, which holds no colon, and the attestor's key. */
export function taskKeyOf(instance: string, taskKey: string): string {
  return `${instance}:${taskKey}`;
}
