import type { PresetWebhook, WebhookMessage, WebhookRun } from "../preset.ts";
import { runValue } from "./run-value.ts";
import { hmacOf, isSame, memberObject, membersOf, refuseWebhook, requiredHeader } from "./signed-body.ts";

/**
 * GitHub's webhooks `workflow_job` (a job has completed) and `workflow_run` (an attempt of a run has, and with it all its
 * jobs), signed by `X-Hub-Signature-256` over the body. There is no signed time: a message that comes again says again that
 * a run has ended which cannot begin anew, since another attempt has another number.
 */
export const githubWebhook: PresetWebhook = {
  read({ headers, body, secret }) {
    const [, hex] = /^sha256=([0-9a-f]{64})$/.exec(requiredHeader(headers, "x-hub-signature-256")) ?? [];
    if (hex === undefined || !isSame(Buffer.from(hex, "hex"), hmacOf(secret, body))) {
      return refuseWebhook("x-hub-signature-256 does not fit the body");
    }
    const run = endedRun(membersOf(payloadOf({ headers, body })));
    const deliveryId = headers["x-github-delivery"];
    return run === undefined ? undefined : { run, ...(deliveryId !== undefined && { deliveryId }) };
  },
};

// What kind of event it is, is read from the body: the header that says so is not signed.
function endedRun(members: Readonly<Record<string, unknown>>): WebhookRun["run"] | undefined {
  if (members["action"] !== "completed") return undefined;
  const repository = () => runValue("id", memberObject(members, "repository")?.["id"], "repository.id");
  const job = memberObject(members, "workflow_job");
  if (job !== undefined) {
    if (job["status"] !== "completed") return undefined;
    return [
      repository(),
      runValue("id", job["run_id"], "workflow_job.run_id"),
      runValue("id", job["run_attempt"], "workflow_job.run_attempt"),
      checkRunOf(job["check_run_url"]),
    ];
  }
  const run = memberObject(members, "workflow_run");
  if (run?.["status"] !== "completed") return undefined;
  return [
    repository(),
    runValue("id", run["id"], "workflow_run.id"),
    runValue("id", run["run_attempt"], "workflow_run.run_attempt"),
  ];
}

function checkRunOf(url: unknown): string {
  const [, id] = typeof url === "string" ? (/\/check-runs\/(\d{1,20})$/.exec(url) ?? []) : [];
  return id ?? refuseWebhook("workflow_job.check_run_url names no check run");
}

/** The message itself: a webhook may be set to send it as a form's field, which is what the web page proposes. */
function payloadOf({ headers, body }: Pick<WebhookMessage, "headers" | "body">): Uint8Array | string {
  if (headers["content-type"]?.startsWith("application/x-www-form-urlencoded") !== true) return body;
  const form = new URLSearchParams(Buffer.from(body).toString("latin1"));
  return form.get("payload") ?? refuseWebhook("the form has no payload");
}
