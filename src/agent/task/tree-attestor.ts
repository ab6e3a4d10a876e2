import type { NamedAttestor } from "../../attestation/attest-workload.ts";
import { isDescendant } from "../../peer/process-tree.ts";
import { IN_TREE } from "./task-state.ts";

/** Whose processes belong to the task. */
export interface TreeAttestorOptions {
  /** Pid of the runner, to which orphans of the tree pass. */
  readonly runner: number;
  /** The one user whose processes count. */
  readonly uid: number;
  /** Whether a process descends from another; the kernel is asked unless told. */
  readonly descends?: (pid: number, ancestor: number) => boolean;
}

/** Knows the processes of one process tree, all of one user. */
export function treeAttestor({ runner, uid, descends = isDescendant }: TreeAttestorOptions): NamedAttestor {
  return {
    name: IN_TREE.type,
    instance: {
      attest: async (process) => (process.uid === uid && descends(process.pid, runner) ? [IN_TREE] : []),
      async [Symbol.asyncDispose]() {},
    },
  };
}
