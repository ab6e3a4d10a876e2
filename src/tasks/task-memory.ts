import type { FollowingMemory } from "../store/change-reader.ts";
import type { TaskRecord, TaskStore } from "../store/task-store.ts";

/** What follows the store: told of tasks as they are, and at times of all there are. */
export interface TaskFollower {
  /** Tasks as read; `undefined` for one that is not there any more. */
  changed(id: string, task: TaskRecord | undefined): void;
  /** Every task that is not `ended`. */
  loaded(tasks: readonly TaskRecord[]): void;
}

/** Reads of the store's changes what concerns tasks. */
export function taskMemory(tasks: TaskStore, follower: TaskFollower): FollowingMemory {
  return {
    async load() {
      const live = await tasks.live();
      return () => follower.loaded(live);
    },

    async read(rows) {
      const ids = new Set(rows.filter(({ kind }) => kind === "task").map(({ key }) => key));
      const read: [string, TaskRecord | undefined][] = [];
      for (const id of ids) read.push([id, await tasks.get(id)]);
      return () => {
        for (const [id, task] of read) follower.changed(id, task);
      };
    },
  };
}
