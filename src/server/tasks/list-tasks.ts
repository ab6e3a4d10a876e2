import { AssayError } from "../../errors/assay-error.ts";
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
  let before = readToken(page.pageToken);
  for (let seen = 0; seen < MOST_SEEN; ) {
    const some = await store.list(before, CHUNK);
    if (some.length === 0) return { tasks, nextPageToken: "" };
    for (const task of some) {
      before = task.ordinal;
      seen++;
      if (!(await keeps(task))) continue;
      tasks.push(task);
      if (tasks.length === page.pageSize) return { tasks, nextPageToken: writeToken(before) };
    }
  }
  return { tasks, nextPageToken: writeToken(before) };
}

function writeToken(ordinal: number): string {
  return Buffer.from(`${PREFIX}${ordinal}`).toString("base64url");
}

function readToken(token: string): number {
  if (token === "") return 0;
  const text = Buffer.from(token.slice(0, MAX_TOKEN), "base64url").toString("latin1");
  const ordinal = Number(text.slice(PREFIX.length));
  if (Number.isSafeInteger(ordinal) && ordinal > 0 && writeToken(ordinal) === token) return ordinal;
  throw new AssayError("INVALID_PAGE_TOKEN", "page token: expected one that an earlier page gave");
}

const PREFIX = "before:";
const MAX_TOKEN = 64;
const CHUNK = 200;
const MOST_SEEN = 2000;
