import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Caller } from "../../issuance/caller.ts";
import type { TaskCaller } from "../../issuance/tasks/task-options.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import type { TaskRecord } from "../../store/task-store.ts";

/** Decides whether a request to the task API comes from a task that is alive. */
export interface TaskCallGuard {
  /**
   * The task whose access token the request carries, with a proof of its key for this very request.
   * @param reply To put headers on: a fresh nonce on every answer, the challenge on a refusal.
   * @throws AssayError `INVALID_ACCESS_TOKEN`, `INVALID_DPOP_PROOF`, `DPOP_NONCE_REQUIRED`, `TASK_OVER`,
   * `TASK_NOT_FOUND`.
   */
  admit(request: FastifyRequest, reply: FastifyReply): Promise<TaskRecord>;
}

/** What stands before every route of the task API. */
export interface TaskDoorOptions {
  readonly taskGuard: TaskCallGuard;
  /** Who is at the other end of a connection. */
  readonly callerOf: (socket: Socket) => Caller;
  /** Takes a call from a task's allowance. @throws AssayError `RATE_LIMITED`. */
  readonly taskLimit: { take(taskId: string): void };
}

/** Has every request of these routes admitted before its body is read; gives what tells who sent one. */
export function admitTasks(
  routes: HttpRoutes,
  { taskGuard, callerOf, taskLimit }: TaskDoorOptions,
): (request: FastifyRequest) => TaskCaller {
  const admitted = new WeakMap<FastifyRequest, TaskCaller>();
  routes.addHook("onRequest", async (request, reply) => {
    const task = await taskGuard.admit(request, reply);
    taskLimit.take(task.id);
    // What the connection itself proves besides is nothing of a task's.
    admitted.set(request, { address: callerOf(request.socket).address, task });
  });
  return (request) => {
    const caller = admitted.get(request);
    if (caller === undefined) throw new AssayError("INTERNAL", "a request passed the guard unseen");
    return caller;
  };
}
