/**
 * server/tasks — tasks over HTTP: what a job asks for its own task, and what operators see and end.
 *
 * Must never know how a task proved itself, nor how anything is signed; it reads requests and writes answers.
 * Called by the web application, for the web port and, the operators' part, for the admin socket too.
 */
import type { HttpRoutes } from "../../http/http-routes.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import { type TaskBundleOptions, taskBundleRoutes } from "./task-bundle-routes.ts";
import { admitTasks, type TaskDoorOptions } from "./task-call.ts";
import { ownTaskSchema, ownTaskToJson, taskLifeSchema, taskLifeToJson } from "./task-json.ts";
import { aboutTask, taskProblems } from "./task-document.ts";
import { taskSvidRoutes } from "./task-svid-routes.ts";

/** What the task API needs. */
export interface TaskApiOptions extends TaskDoorOptions, TaskBundleOptions {
  readonly taskIssuance: Omit<TaskIssuance, "open">;
}

/**
 * Adds the task API, `/v1/task…`: each call is admitted by the task's access token and a proof of its key. The routes must
 * have a scope of their own, since everything in it is guarded.
 */
export function taskApiRoutes(routes: HttpRoutes, options: TaskApiOptions): void {
  const callerOf = admitTasks(routes, options);
  const { taskIssuance: issuance } = options;

  routes.get(
    "/v1/task",
    {
      schema: {
        ...aboutTask("Read the own task"),
        response: { 200: ownTaskSchema, ...taskProblems() },
      },
    },
    (request) => {
      const { task } = callerOf(request);
      return ownTaskToJson(task, issuance.identities(task));
    },
  );

  routes.post(
    "/v1/task/heartbeat",
    {
      schema: {
        ...aboutTask("Keep the own task alive"),
        description: "The lease goes on from now, never beyond the hard end.",
        response: { 200: taskLifeSchema, ...taskProblems("STORE_UNAVAILABLE") },
      },
    },
    async (request) => taskLifeToJson(await issuance.heartbeat(callerOf(request))),
  );

  routes.post(
    "/v1/task/end",
    {
      schema: {
        ...aboutTask("End the own task"),
        description: "Everything that was issued to it is revoked when the answer comes.",
        response: { 200: taskLifeSchema, ...taskProblems("STORE_UNAVAILABLE", "AUDIT_UNAVAILABLE") },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { task } = await issuance.end(caller, caller.task.id, "job", { request_id: request.id });
      return taskLifeToJson(task);
    },
  );

  taskSvidRoutes(routes, issuance, callerOf);
  taskBundleRoutes(routes, options, callerOf);
}
