import { TaskKeeper } from "./task-keeper.ts";
import type { Tasks, TasksOptions } from "./tasks.ts";

/**
 * Opens the tasks over a store, with those that are alive in memory; their leases go on.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openTasks(options: TasksOptions): Promise<Tasks> {
  const keeper = new TaskKeeper(options);
  await keeper.start();
  return keeper;
}
