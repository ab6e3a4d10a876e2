import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { CredentialStore, TaskRecord, TaskStore } from "../../store/task-store.ts";
import { spiffeIdText } from "../web/json-values.ts";
import type { OperatorGuard } from "../web/operator-guard.ts";
import { nextPageToken, pageQuery } from "../web/page-query.ts";
import { listTasks } from "./list-tasks.ts";
import { credentialToJson, taskCredentialSchema, taskSchema, taskToJson } from "./task-json.ts";

/** What the operators' part needs. */
export interface TaskOperatorOptions {
  readonly taskRecords: Pick<TaskStore, "get" | "list">;
  readonly credentials: Pick<CredentialStore, "ofTask">;
  readonly taskIssuance: Pick<TaskIssuance, "identities" | "end">;
}

/** Adds the tasks for operators: list, read with what was issued, end. */
export function taskOperatorRoutes(
  routes: HttpRoutes,
  options: TaskOperatorOptions,
  guard: OperatorGuard,
): void {
  const { taskRecords, credentials, taskIssuance } = options;
  const toJson = (task: TaskRecord) =>
    taskToJson(task, task.state === "active" ? taskIssuance.identities(task) : []);

  routes.get(
    "/v1/tasks",
    {
      schema: {
        ...about("List tasks, the newest first"),
        querystring: listQuery,
        response: {
          200: z.object({ tasks: z.array(taskSchema), next_page_token: nextPageToken }),
          ...problemResponses("INVALID_REQUEST", "INVALID_SPIFFE_ID", "INVALID_PAGE_TOKEN", ...REFUSALS),
        },
      },
    },
    async ({ query }) => {
      const { state, attestor, spiffe_id: id } = query;
      const spiffeId = id === undefined ? undefined : parseSpiffeId(id);
      const has = async (task: TaskRecord) =>
        spiffeId === undefined ||
        taskIssuance.identities(task).some((identity) => identity.spiffeId === spiffeId) ||
        (await credentials.ofTask(task.id)).some((credential) => credential.spiffeId === spiffeId);
      const page = await listTasks(
        taskRecords,
        { pageSize: query.page_size, pageToken: query.page_token ?? "" },
        async (task) =>
          (state === undefined || task.state === state) &&
          (attestor === undefined || task.attestor === attestor) &&
          (await has(task)),
      );
      return {
        tasks: page.tasks.map(toJson),
        ...(page.nextPageToken !== "" && { next_page_token: page.nextPageToken }),
      };
    },
  );

  routes.get(
    "/v1/tasks/:id",
    {
      schema: {
        ...about("Read a task and what was issued to it"),
        params: taskParams,
        response: {
          200: z.object({ task: taskSchema, credentials: z.array(taskCredentialSchema) }),
          ...problemResponses("INVALID_REQUEST", "TASK_NOT_FOUND", ...REFUSALS),
        },
      },
    },
    async ({ params: { id } }) => {
      const task = await taskRecords.get(id);
      if (task === undefined) throw new AssayError("TASK_NOT_FOUND", `there is no task ${id}`);
      return { task: toJson(task), credentials: (await credentials.ofTask(id)).map(credentialToJson) };
    },
  );

  routes.post(
    "/v1/tasks/:id/end",
    {
      schema: {
        ...about("End a task"),
        description:
          "Everything that was issued to it is revoked when the answer comes. Ending it again does nothing.",
        params: taskParams,
        response: {
          200: taskSchema,
          ...problemResponses("INVALID_REQUEST", "TASK_NOT_FOUND", "AUDIT_UNAVAILABLE", ...REFUSALS),
        },
      },
    },
    async (request) => {
      const { caller, method, requestId } = guard.callOf(request);
      const facts = { method, ...(requestId !== undefined && { request_id: requestId }) };
      const { task } = await taskIssuance.end(caller, request.params.id, "operator", facts);
      return toJson(task);
    },
  );
}

function about(summary: string) {
  return { tags: ["tasks"], summary };
}

const REFUSALS = [
  "CALLER_NOT_IDENTIFIED",
  "AUTHORIZATION_DENIED",
  "RATE_LIMITED",
  "STORE_UNAVAILABLE",
] as const;

const listQuery = z.strictObject({
  ...pageQuery,
  state: z.enum(["active", "ending", "ended"]).optional().describe("Only tasks in this state"),
  attestor: z.string().min(1).max(64).optional().describe("Only tasks of the attestor of this name"),
  spiffe_id: spiffeIdText
    .optional()
    .describe("Only tasks that have this SPIFFE ID, or to which something was issued for it"),
});

const taskParams = z.object({ id: z.uuid().describe("Id of the task") });
