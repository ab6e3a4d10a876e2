import { z } from "zod";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import {
  explainJob,
  type JobExplanation,
  type JobExplanationOptions,
} from "../../issuance/tasks/explain-job.ts";
import type { TaskAttestation } from "../../plugin/task-attestor.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import { timeOutput, timeTextOrNull } from "../web/json-values.ts";
import { matchingToJson, taskMatchingSchema } from "./explain-json.ts";

/** Adds `POST /v1/task-attestors/{name}/explain`: what a job would earn by the claims of its token. Changes nothing. */
export function dryRunRoutes(routes: HttpRoutes, options: JobExplanationOptions): void {
  routes.post(
    "/v1/task-attestors/:name/explain",
    {
      schema: {
        tags: ["tasks"],
        summary: "Explain what a job's claims would earn",
        description:
          "Neither a signature nor an age is checked, no evidence is used up and nothing is written: a dry run on saved claims.",
        params: attestorParams,
        body: dryRunBody,
        response: {
          200: jobExplanationSchema,
          ...problemResponses(
            "INVALID_REQUEST",
            "ATTESTOR_UNKNOWN",
            "CALLER_NOT_IDENTIFIED",
            "AUTHORIZATION_DENIED",
            "RATE_LIMITED",
          ),
        },
      },
    },
    ({ params: { name }, body: { claims } }) => explanationToJson(explainJob(options, name, claims)),
  );
}

function explanationToJson(explanation: JobExplanation): z.output<typeof jobExplanationSchema> {
  const { instance } = explanation;
  if (explanation.refusal !== undefined) {
    return { attestor: instance, refusal: explanation.refusal, run: null, matching: null, task: null };
  }
  const { attestation, matching, task } = explanation;
  return {
    attestor: instance,
    refusal: null,
    run: runToJson(attestation),
    matching: matchingToJson(matching),
    task: task === undefined ? null : { id: task.id, state: task.state },
  };
}

function runToJson(attestation: TaskAttestation): z.output<typeof runSchema> {
  const authored = new Set(attestation.authoredClaims);
  const claims = (chosen: boolean) =>
    Object.fromEntries(Object.entries(attestation.claims).filter(([name]) => authored.has(name) === chosen));
  return {
    platform: attestation.platform,
    issuer: attestation.issuer,
    description: attestation.description,
    granularity: attestation.granularity,
    task_key: attestation.taskKey,
    selectors: attestation.selectors.map(formatSelector),
    guarded_selectors: attestation.guarded.map(formatSelector),
    claims: claims(false),
    author_claims: claims(true),
    ends_by: timeTextOrNull(attestation.endsBy ?? 0),
  };
}

const attestorParams = z.object({
  name: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, "expected the name of a task attestor")
    .describe("Name of the task attestor"),
});

const dryRunBody = z
  .strictObject({
    claims: z.record(z.string(), z.unknown()).describe("The claims of a token, as its payload has them"),
  })
  .meta({ id: "TaskDryRun", description: "Claims to judge" });

const runSchema = z.object({
  platform: z.string().describe("Kind of platform"),
  issuer: z.string(),
  description: z.string().describe("The run in words"),
  granularity: z.enum(["job", "run"]).describe("Whether the task would be one job, or a run of several"),
  task_key: z.string().describe("Names the run among all runs of this attestor"),
  selectors: z.array(z.string()).describe("What attestation would find, `type:value`"),
  guarded_selectors: z.array(z.string()).describe("Those that an entry must name to give anything"),
  claims: z.record(z.string(), z.string()).describe("What the platform vouches for"),
  author_claims: z.record(z.string(), z.string()).describe("What the job's authors can choose"),
  ends_by: timeOutput.nullable().describe("When the platform itself would end the run, where it says so"),
});

const jobExplanationSchema = z
  .object({
    attestor: z.string(),
    refusal: z.string().nullable().describe("Why the claims are no evidence; `null` where they are"),
    run: runSchema.nullable(),
    matching: taskMatchingSchema.nullable(),
    task: z
      .object({ id: z.string(), state: z.enum(["active", "ending", "ended"]) })
      .nullable()
      .describe("The task that the run has already"),
  })
  .meta({ id: "JobExplanation", description: "What a job's claims would earn" });
