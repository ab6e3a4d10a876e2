import { z } from "zod";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import {
  explainTask,
  type IssuedToTask,
  type TaskExplanation,
  type TaskExplanationOptions,
} from "../../issuance/tasks/explain-task.ts";
import { auditRecordSchema } from "../web/decision-routes.ts";
import { matchingToJson, taskMatchingSchema } from "./explain-json.ts";
import { credentialToJson, taskCredentialSchema, taskSchema, taskToJson } from "./task-json.ts";

/** Adds `GET /v1/tasks/{id}/explain`: one task from the claims of its token to the end of all that it got. */
export function explainTaskRoutes(routes: HttpRoutes, options: TaskExplanationOptions): void {
  routes.get(
    "/v1/tasks/:id/explain",
    {
      schema: {
        tags: ["tasks"],
        summary: "Explain a task",
        description:
          "From the store, the entries as they are now, and the audit log of this server. A task that the store has forgotten is explained by the audit log alone.",
        params: taskParams,
        response: {
          200: explanationSchema,
          ...problemResponses(
            "INVALID_REQUEST",
            "TASK_NOT_FOUND",
            "CALLER_NOT_IDENTIFIED",
            "AUTHORIZATION_DENIED",
            "RATE_LIMITED",
            "STORE_UNAVAILABLE",
            "AUDIT_UNAVAILABLE",
          ),
        },
      },
    },
    async ({ params: { id } }) => explanationToJson(await explainTask(options, id)),
  );
}

function explanationToJson({
  id,
  task,
  issued,
  trail,
  isCutOff,
}: TaskExplanation): z.output<typeof explanationSchema> {
  return {
    id,
    task:
      task === undefined
        ? null
        : taskToJson(task.record, task.record.state === "active" ? task.matching.identities : []),
    matching: task === undefined ? null : matchingToJson(task.matching),
    cap:
      task === undefined
        ? null
        : { by: task.cap.by, entry_id: "entryId" in task.cap ? task.cap.entryId : "" },
    issued: issued.map(issuedToJson),
    trail: trail.map((record) => ({ ...record })),
    trail_cut_off: isCutOff,
  };
}

function issuedToJson({ credential, record }: IssuedToTask): z.output<typeof issuedSchema> {
  return {
    ...credentialToJson(credential),
    audience: [...(record?.audience ?? [])],
    decision_id: record?.decision_id ?? null,
  };
}

const taskParams = z.object({ id: z.uuid().describe("Id of the task") });

const issuedSchema = taskCredentialSchema
  .extend({
    audience: z.array(z.string()).describe("Audience of a token, as in the audit log"),
    decision_id: z.string().nullable().describe("Decision by which it was issued, where the trail has it"),
  })
  .meta({ id: "TaskIssued", description: "Something that was issued to a task, with its decision" });

const explanationSchema = z
  .object({
    id: z.string().describe("Id of the task"),
    task: taskSchema.nullable().describe("`null` where the store has forgotten it"),
    matching: taskMatchingSchema.nullable().describe("As the entries are now"),
    cap: z
      .object({
        by: z.enum(["setting", "entry", "other"]),
        entry_id: z.string().describe("Empty unless an entry did"),
      })
      .nullable()
      .describe(
        "What set the hard end: `tasks.max_duration`, an entry, or else the platform or an entry that has changed since",
      ),
    issued: z.array(issuedSchema).describe("In the order of issuing"),
    trail: z.array(auditRecordSchema).describe("Records of the audit log that name the task, oldest first"),
    trail_cut_off: z.boolean().describe("Whether there are older records than these"),
  })
  .meta({ id: "TaskExplanation", description: "One task, from claims to revocation" });
