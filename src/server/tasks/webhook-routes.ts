import type { Socket } from "node:net";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { networkOf } from "../../endpoint/address-limit.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { Caller } from "../../issuance/caller.ts";
import { callerFacts } from "../../issuance/decision.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { TaskAttestor, TaskEnd } from "../../plugin/task-attestor.ts";
import { taskKeyOf } from "../../tasks/life.ts";
import type { Tasks } from "../../tasks/tasks.ts";

/** What the platforms' messages need. */
export interface TaskWebhookOptions {
  /** The task attestors, by the operator's names. */
  readonly attestors: ReadonlyMap<string, Pick<TaskAttestor, "readWebhook">>;
  readonly tasks: Pick<Tasks, "list" | "catchUp">;
  readonly taskIssuance: Pick<TaskIssuance, "end">;
  readonly callerOf: (socket: Socket) => Caller;
  readonly audit: { append(records: readonly AuditRecord[]): void };
  /**
   * Takes one refusal from an address's budget, so that nobody can fill the audit log.
   * @throws AssayError `RATE_LIMITED`.
   */
  readonly refusals: { take(key: string): void };
}

/**
 * Adds `POST /v1/webhooks/{instance}`: a platform's signed word that runs have ended, which ends their tasks and does
 * nothing else. A message about a run that has no task, or none any more, is taken like any other. The routes must have a
 * scope of their own, since bodies are read as the bytes that are signed.
 */
export function taskWebhookRoutes(routes: HttpRoutes, options: TaskWebhookOptions): void {
  routes.removeAllContentTypeParsers();
  routes.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: MAX_BODY }, (_request, body, done) =>
    done(null, body),
  );
  routes.post(
    "/v1/webhooks/:instance",
    {
      bodyLimit: MAX_BODY,
      schema: {
        tags: ["webhooks"],
        summary: "Tell that a run has ended",
        description:
          "What a CI platform sends, signed by its own scheme with the secret that the operator gave to both. It can end a task and nothing else; what names no task of ours is taken too.",
        params: webhookParams,
        response: {
          202: z.object({}).describe("Taken; whether a task ended by it is not told"),
          ...problemResponses(
            "INVALID_REQUEST",
            "WEBHOOK_REFUSED",
            "RATE_LIMITED",
            "MESSAGE_TOO_LARGE",
            "STORE_UNAVAILABLE",
            "AUDIT_UNAVAILABLE",
          ),
        },
      },
    },
    async (request, reply) => {
      const { instance } = request.params;
      const end = readEnd(options, instance, request);
      if (end !== undefined) await endTasks(options, instance, end, request);
      return reply.code(202).send({});
    },
  );
}

/**
 * What the platform says; `undefined` where it is nothing about an end.
 * @throws AssayError `WEBHOOK_REFUSED` where it is not the platform that speaks, with an audit record, or `RATE_LIMITED`. An
 * attestor that is not there or takes no messages looks the same from outside.
 */
function readEnd(
  options: TaskWebhookOptions,
  instance: string,
  request: FastifyRequest,
): TaskEnd | undefined {
  const attestor = options.attestors.get(instance);
  try {
    if (attestor?.readWebhook === undefined) {
      throw new AssayError("ATTESTATION_FAILED", "no such task attestor takes messages");
    }
    const body: unknown = request.body;
    const end = attestor.readWebhook({
      headers: textHeaders(request),
      body: Buffer.isBuffer(body) ? body : Buffer.alloc(0),
    });
    if (end?.taskKey === "") throw new AssayError("ATTESTATION_FAILED", "the message names no run");
    return end;
  } catch (thrown) {
    const caller = options.callerOf(request.socket);
    options.refusals.take(`webhook ${networkOf(caller.address)}`);
    const { detail } = toAssayError(thrown);
    options.audit.append([
      {
        event: "webhook.denied",
        outcome: "denied",
        code: "WEBHOOK_REFUSED",
        method: METHOD,
        request_id: request.id,
        ...callerFacts(caller),
        attestor: instance,
        reasons: [detail],
      },
    ]);
    throw new AssayError("WEBHOOK_REFUSED", detail, { cause: thrown });
  }
}

async function endTasks(
  { tasks, taskIssuance, callerOf }: TaskWebhookOptions,
  instance: string,
  { taskKey, deliveryId }: TaskEnd,
  request: FastifyRequest,
): Promise<void> {
  // Another server may have opened the task a moment ago.
  await tasks.catchUp();
  const key = taskKeyOf(instance, taskKey);
  const isMeant = (other: string) => (taskKey.endsWith("/") ? other.startsWith(key) : other === key);
  const caller = callerOf(request.socket);
  const facts = {
    method: METHOD,
    request_id: request.id,
    ...(deliveryId !== undefined && DELIVERY.test(deliveryId) && { reasons: [`delivery ${deliveryId}`] }),
  };
  for (const task of tasks.list()) {
    if (task.state !== "active" || task.attestor !== instance || !isMeant(task.key)) continue;
    await taskIssuance.end(caller, task.id, "platform", facts);
  }
}

/** The headers that are there once; a header that comes several times is several texts in one. */
function textHeaders({ headers }: FastifyRequest): Readonly<Record<string, string>> {
  const texts = Object.entries(headers).filter(([, value]) => typeof value === "string");
  return Object.fromEntries(texts) as Readonly<Record<string, string>>;
}

const METHOD = "POST /v1/webhooks/:instance";
const MAX_BODY = 1024 * 1024;
/** What is written down of a name that nobody has signed. */
const DELIVERY = /^[A-Za-z0-9._:-]{1,128}$/;

const webhookParams = z.object({
  instance: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, "expected the name of a task attestor")
    .describe("Name of the task attestor"),
});
