import { readPageToken, writePageToken } from "../../registry/page-token.ts";
import type { TaskRecord, TaskStore } from "../../store/task-store.ts";

/** One page of tasks, and the way to the next. */
export interface TaskPage {
  readonly tasks: readonly TaskRecord[];
  /** Empty on the last page. The page that it leads to may be empty. */
  readonly nextPageToken: string;
}

/**
 * One page of the tasks that pass `keeps`, the newest first. A page looks at no more than 2,000 tasks, so that a filter that
 * few pass costs many requests and not one without end.
 * @throws AssayError `INVALID_PAGE_TOKEN`.
 */
export async function listTasks(
  store: Pick<TaskStore, "list">,
  page: { readonly pageSize: number; readonly pageToken: string },
  keeps: (task: TaskRecord) => Promise<boolean>,
): Promise<TaskPage> {
  const tasks: TaskRecord[] = [];
  let before = readPageToken("before", page.pageToken);
  for (let seen = 0; seen < MOST_SEEN; ) {
    const some = await store.list(before, CHUNK);
    if (some.length === 0) return { tasks, nextPageToken: "" };
    for (const task of some) {
      before = task.ordinal;
      seen++;
      if (!(await keeps(task))) continue;
      tasks.push(task);
      if (tasks.length === page.pageSize) return { tasks, nextPageToken: writePageToken("before", before) };
    }
  }
  return { tasks, nextPageToken: writePageToken("before", before) };
}

const CHUNK = 200;
const MOST_SEEN = 2000;
