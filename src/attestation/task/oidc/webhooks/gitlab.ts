import type { PresetWebhook, WebhookMessage } from "../preset.ts";
import { runValue } from "./run-value.ts";
import { checkSignedTime, hmacOf, isSame, membersOf, refuseWebhook, requiredHeader } from "./signed-body.ts";

/**
 * GitLab's job events of a project, a group or the instance. A secret that begins with `whsec_` is a signing token
 * (`webhook-signature`, as Standard Webhooks has it): then only signed messages are taken. Any other is the secret token,
 * which GitLab sends as it is in `X-Gitlab-Token`.
 */
export const gitlabWebhook: PresetWebhook = {
  read(message) {
    const { headers, secret, body } = message;
    if (secret.startsWith(SIGNING_TOKEN)) checkSignature(message);
    else if (!isSame(requiredHeader(headers, "x-gitlab-token"), secret)) {
      refuseWebhook("x-gitlab-token is not the secret");
    }
    const members = membersOf(body);
    if (members["object_kind"] !== "build" || !FINAL.has(members["build_status"])) return undefined;
    const deliveryId = headers["webhook-id"] ?? headers["idempotency-key"] ?? headers["x-gitlab-event-uuid"];
    return {
      // The project that runs the job, whose code ever it is.
      run: [
        runValue("id", members["project_id"], "project_id"),
        runValue("id", members["build_id"], "build_id"),
      ],
      ...(deliveryId !== undefined && { deliveryId }),
    };
  },
};

function checkSignature({ headers, body, secret, now }: WebhookMessage): void {
  const id = requiredHeader(headers, "webhook-id");
  const time = requiredHeader(headers, "webhook-timestamp");
  const key = Buffer.from(secret.slice(SIGNING_TOKEN.length), "base64");
  if (key.length < MIN_KEY_BYTES) refuseWebhook(`the signing token holds fewer than ${MIN_KEY_BYTES} bytes`);
  const wanted = `v1,${hmacOf(key, `${id}.${time}.`, body).toString("base64")}`;
  const given = requiredHeader(headers, "webhook-signature").split(" ").slice(0, MAX_SIGNATURES);
  if (!given.some((one) => isSame(one, wanted))) refuseWebhook("webhook-signature does not fit the message");
  checkSignedTime(time, now);
}

const SIGNING_TOKEN = "whsec_";
const MIN_KEY_BYTES = 16;
// While a token is being changed there are two.
const MAX_SIGNATURES = 8;
/** States that a job does not leave: a retry is another job. One that was skipped has not run, and may yet. */
const FINAL: ReadonlySet<unknown> = new Set(["success", "failed", "canceled"]);
