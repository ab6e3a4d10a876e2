import type { AuditRecord } from "../../observe/audit-record.ts";
import type { TaskIdentity } from "../../registry/task-identities.ts";
import type { IssuedJwtSvid, IssuedWitSvid, IssuedX509Svid } from "../../signing/signing.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { EndOutcome } from "../../tasks/tasks.ts";
import type { Caller } from "../caller.ts";
import type { WitKeyOrder } from "../wit-svids.ts";
import { endTask } from "./end-task.ts";
import { type OpenTask, openTask, type TaskRequest } from "./open-task.ts";
import type { TaskCaller, TaskIssuanceOptions } from "./task-options.ts";
import { type IdentityChoice, taskJwtSvid, type TaskSvid, taskWitSvid, taskX509Svid } from "./task-svids.ts";

/** Everything that is decided about tasks, as those who talk to jobs call it; each method throws what its function does. */
export interface TaskIssuance {
  /** See {@link openTask}. */
  open(caller: Caller, request: TaskRequest): Promise<OpenTask>;
  /** What the entries give the task now, in order of their creation. */
  identities(task: TaskRecord): readonly TaskIdentity[];
  /** See {@link taskX509Svid}. */
  x509Svid(
    caller: TaskCaller,
    order: IdentityChoice & { readonly csr: Uint8Array },
  ): Promise<TaskSvid<IssuedX509Svid>>;
  /** See {@link taskJwtSvid}. */
  jwtSvid(
    caller: TaskCaller,
    order: IdentityChoice & { readonly audience: readonly string[]; readonly status: boolean },
  ): Promise<TaskSvid<IssuedJwtSvid>>;
  /** See {@link taskWitSvid}. */
  witSvid(caller: TaskCaller, order: IdentityChoice & WitKeyOrder): Promise<TaskSvid<IssuedWitSvid>>;
  /** Extends the lease. @throws AssayError `TASK_OVER`, `TASK_NOT_FOUND`, `STORE_UNAVAILABLE`. */
  heartbeat(caller: TaskCaller): Promise<TaskRecord>;
  /** See {@link endTask}. */
  end(
    caller: Caller,
    id: string,
    reason: "job" | "operator" | "platform",
    facts?: Partial<AuditRecord>,
  ): Promise<EndOutcome>;
}

/** The decisions about tasks over what they stand on. */
export function taskIssuance(options: TaskIssuanceOptions): TaskIssuance {
  return {
    open: (caller, request) => openTask(options, caller, request),
    identities: (task) => options.identities(task.attestor, task).identities,
    x509Svid: (caller, order) => taskX509Svid(options, caller, order),
    jwtSvid: (caller, order) => taskJwtSvid(options, caller, order),
    witSvid: (caller, order) => taskWitSvid(options, caller, order),
    heartbeat: ({ task }) => options.tasks.heartbeat(task.id),
    end: (caller, id, reason, facts) => endTask(options, caller, id, reason, facts),
  };
}
